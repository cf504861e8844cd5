# Build interface packages for Python only, in half the time. Set-up passes this file as
# CMAKE_PROJECT_INCLUDE for ROS 2 from PyPI; CMake includes it after project(). The packages themselves stay
# ordinary: without this file they generate everything.

find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)

# rclpy and Fast DDS use the C type support and introspection; the C++ code is for C++ nodes.
list(FILTER AMENT_EXTENSIONS_rosidl_generate_idl_interfaces EXCLUDE REGEX "_cpp:")

# Compile ten generated sources at a time, so that their common headers are read once. Type descriptions define
# names that repeat, so they are compiled alone.
function(join_generated_sources)
  get_property(targets DIRECTORY PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target ${targets})
    get_target_property(type ${target} TYPE)
    if(NOT type MATCHES "LIBRARY")
      continue()
    endif()
    get_target_property(sources ${target} SOURCES)
    list(FILTER sources INCLUDE REGEX "__description\\.c$")
    if(sources)
      set_source_files_properties(${sources} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    endif()
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 10)
  endforeach()
endfunction()
cmake_language(DEFER CALL join_generated_sources)
