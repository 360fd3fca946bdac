# help.sh - every command explains itself, and its manual page comes from the same table.
run sqz --help
run sqz-prune --help
for command in import info prune quantize encode decode run eval export compare compress sensitivity; do
    sqz-$command --help >help.txt
    echo "$command --help: exit $?, $(head -1 help.txt)"
    sqz $command --help | cmp - help.txt
    awk 'length > 80 && !/^  sqz/ { print "too long: " $0 }' help.txt
    sqz-$command --help-man >page.1
    echo "$command --help-man: exit $?, $(head -1 page.1 | cut -d' ' -f1-3)"
    # Each option of the help is in the page.
    grep -oE '^ +(-[a-zA-Z], )?--[a-z0-9-]+' help.txt | grep -oE -e '--.*' | while read -r option; do
        grep -qF -- "${option//-/\\-}" page.1 || echo "$command: $option is not in the page"
    done
    [ "$(sqz-$command --version | cut -d' ' -f1)" = sqz-$command ] || echo "$command --version fails"
done
