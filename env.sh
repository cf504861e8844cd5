# Enter the kosmos2 environment: `source env.sh`, in bash or zsh, from anywhere.
#
# The Python environment .venv, the built interfaces, the command `kosmos2`, large images through shared
# memory (config/fastdds.xml, unless you have a profile of your own), and discovery of ROS nodes on this
# machine only (to reach other machines: export ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET before).

_kosmos2_enter() {
    local root="$1" shell="$2" origin ros libraries= folder
    if [ ! -f "$root/.venv/kosmos2.state" ] || ! grep -q '^interfaces=' "$root/.venv/kosmos2.state"; then
        echo "env.sh: set-up has not run or not finished: run \`make setup\` in $root first." >&2
        return 1
    fi
    if [ "$(sed -n 's/^root=//p' "$root/.venv/kosmos2.state")" != "$root" ]; then
        echo "env.sh: this clone was moved since its set-up: run \`make setup\` in $root again." >&2
        return 1
    fi
    ros="$(sed -n 's/^ros=//p' "$root/.venv/kosmos2.state")"
    origin="$(sed -n 's/^origin=//p' "$root/.venv/kosmos2.state")"
    if [ "$origin" = pypi ]; then
        case ":${AMENT_PREFIX_PATH-}:" in
            ::|*":$root/.venv:"*) ;;
            *) echo "env.sh: another ROS environment is sourced in this shell ($AMENT_PREFIX_PATH): open a new one." >&2
               return 1 ;;
        esac
        # The Python environment of the ROS 2 from PyPI is a prefix like any installed ROS 2.
        export AMENT_PREFIX_PATH="${AMENT_PREFIX_PATH:-$root/.venv}"
        export CMAKE_PREFIX_PATH="${CMAKE_PREFIX_PATH:-$root/.venv}"
        # The wheels would add their libraries themselves, in random order and with a second start of
        # every Python. An overlay's libraries must come first, so the order is made here.
        for folder in "$root/.venv/lib" "$root"/.venv/lib/python3*/site-packages/ros_*.libs; do
            case ":${LD_LIBRARY_PATH-}:" in
                *":$folder:"*) ;;
                *) libraries="$libraries$folder:" ;;
            esac
        done
        LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH-}"
        export LD_LIBRARY_PATH="${LD_LIBRARY_PATH%:}"
        export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
        export ROS_DISTRO="$ros" ROS_VERSION=2 ROS_PYTHON_VERSION=3
    fi
    if [ "$ros" != none ]; then
        . "$root/install/setup.$shell"
        export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
        if [ -z "${FASTRTPS_DEFAULT_PROFILES_FILE-}${FASTDDS_DEFAULT_PROFILES_FILE-}" ]; then
            case "$ros" in # Kilted warns of the old name, Jazzy does not know the new one
                jazzy) export FASTRTPS_DEFAULT_PROFILES_FILE="$root/config/fastdds.xml" ;;
                *) export FASTDDS_DEFAULT_PROFILES_FILE="$root/config/fastdds.xml" ;;
            esac
        fi
    fi
    . "$root/.venv/bin/activate"
    export KOSMOS2_ROOT="$root"
    case "$-" in
        *i*)
            # Tab completion. In zsh it needs compinit, which a user's .zshrc starts.
            if [ "$shell" = bash ] || command -v compdef >/dev/null; then
                eval "$(register-python-argcomplete kosmos2 2>/dev/null)"
            fi
            echo "kosmos2: $(sed -n 's/^title=//p' "$root/.venv/kosmos2.state")${ROS_AUTOMATIC_DISCOVERY_RANGE:+, discovery $ROS_AUTOMATIC_DISCOVERY_RANGE}. \`kosmos2 --help\` is the start, \`deactivate\` and a new shell the end." ;;
    esac
}

case "$-" in *u*) _kosmos2_nounset=1; set +u ;; *) _kosmos2_nounset= ;; esac # colcon's scripts need it off
_kosmos2_status=0
if [ -n "${BASH_VERSION-}" ] && [ "${BASH_SOURCE[0]}" != "$0" ]; then
    _kosmos2_enter "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)" bash || _kosmos2_status=$?
elif [ -n "${ZSH_VERSION-}" ]; then
    eval '_kosmos2_enter "${${(%):-%x}:A:h}" zsh' || _kosmos2_status=$?
else
    echo "env.sh: source it, from bash or zsh: \`source env.sh\`." >&2
    _kosmos2_status=2
fi
unset -f _kosmos2_enter
[ -z "$_kosmos2_nounset" ] || set -u
unset _kosmos2_nounset
return "$_kosmos2_status" 2>/dev/null || exit "$_kosmos2_status"
