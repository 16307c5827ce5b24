/** Completion scripts, by shell. Each hands the words up to the cursor to `weft __complete` and shows what it prints. */

const bash = `# bash completion for weft
_weft() {
    local line cur="\${COMP_WORDS[COMP_CWORD]}"
    [[ $cur == "=" ]] && cur=""
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :file ]]; then
            compopt -o default 2>/dev/null
            return
        fi
        line="\${line%%$'\\t'*}"
        [[ $line == "$cur"* ]] && COMPREPLY+=("$(printf '%q' "$line")")
    done < <("\${COMP_WORDS[0]}" __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _weft weft
`;

const zsh = `#compdef weft
# zsh completion for weft
_weft() {
    local line value
    local -a found
    while IFS= read -r line; do
        if [[ $line == :file ]]; then
            _files
            return
        fi
        value="\${line%%$'\\t'*}"
        found+=("\${value//:/\\\\:}:\${line#*$'\\t'}")
    done < <("\${words[1]}" __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
    _describe 'weft' found
}
if [[ "\${funcstack[1]}" == _weft ]]; then
    _weft "$@"
else
    compdef _weft weft
fi
`;

const fish = `# fish completion for weft
function __weft_complete
    set -l words (commandline -opc)
    set -l found ($words[1] __complete -- $words[2..] (commandline -ct) 2>/dev/null)
    if test "$found" = ":file"
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $found
    end
end
complete -c weft -f -a '(__weft_complete)'
`;

export const scripts = { bash, zsh, fish } as const;
