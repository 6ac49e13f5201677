"""Completion of commands, keys and options in bash and zsh: Hydra knows the keys and options."""

from collections.abc import Iterable

SCRIPT = """\
[ -n "$ZSH_VERSION" ] && autoload -U +X bashcompinit && bashcompinit
_nasmeta() {
    local words="" word="${COMP_WORDS[COMP_CWORD]}"
    if [ "$COMP_CWORD" = 1 ]; then
        words="%s"
    else
        case "${COMP_WORDS[1]}" in
            search|train|bench|doctor)
                words="$(COMP_LINE="${COMP_LINE#* }" nasmeta search -sc query=bash 2>/dev/null)" ;;
        esac
    fi
    COMPREPLY=($(compgen -o default -W "$words" -- "$word"))
}
COMP_WORDBREAKS="${COMP_WORDBREAKS//=}"
complete -o nospace -o default -F _nasmeta nasmeta
"""


def script(commands: Iterable[str]) -> str:
    """What a shell evaluates to complete `nasmeta`, whose first argument is one of the `commands`."""
    return SCRIPT % " ".join(sorted(commands))
