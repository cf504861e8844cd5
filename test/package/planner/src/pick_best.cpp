// Chooses the phrase with the best box of a grounded frame, as a planner in C++ would.

#include <algorithm>
#include <iostream>

#include "kosmos2/msg/grounded_frame.hpp"

int main()
{
  kosmos2::msg::GroundedFrame frame;
  for (const auto & [name, score] : {std::pair{"the bowl", 0.4}, std::pair{"the red mug", 0.9}}) {
    kosmos2::msg::GroundedPhrase phrase;
    phrase.phrase = name;
    phrase.boxes.emplace_back().score = score;
    frame.phrases.push_back(phrase);
  }
  const auto best = std::max_element(
    frame.phrases.begin(), frame.phrases.end(),
    [](const auto & a, const auto & b) {return a.boxes[0].score < b.boxes[0].score;});
  std::cout << best->phrase << " " << best->boxes[0].score << std::endl;
}
