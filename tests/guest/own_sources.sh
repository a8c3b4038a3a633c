# shellcheck shell=bash
# Sourced by what fetches Debian packages for guests: they come from where this machine's come from, of whatever suite.

# Prints the machine's own sources of one kind, in apt's deb822 form, with their suites replaced by one.
own_sources() { # release|security suite
  local codename files=()
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  [[ $1 == security ]] && codename+=-security
  mapfile -t files < <(find /etc/apt/sources.list.d -maxdepth 1 -name '*.sources' | sort)
  [[ ${#files[@]} -eq 0 ]] || awk -v RS= -v codename="$codename" -v suite="$2" '
    {
      gsub(/(^|\n)#[^\n]*/, "")
      sub(/^\n+/, "")
      if (!/(^|\n)Types:[^\n]*deb([ \t\n]|$)/ || /(^|\n)Enabled:[ \t]*no/) next
      if (!match($0, /(^|\n)Suites:[^\n]*/)) next
      named = " " substr($0, RSTART, RLENGTH) " "
      gsub(/[\n:\t]/, " ", named)
      if (!index(named, " " codename " ")) next
      sub(/(^|\n)Suites:[^\n]*/, "\nSuites: " suite)
      sub(/^\n/, "")
      print $0 "\n"
    }' "${files[@]}"
  mapfile -t files < <(find /etc/apt/sources.list /etc/apt/sources.list.d -maxdepth 1 -name '*.list' 2>/dev/null | sort)
  [[ ${#files[@]} -eq 0 ]] || awk -v codename="$codename" -v suite="$2" '
    $1 == "deb" && match($0, /^[ \t]*deb[ \t]+(\[[^]]*\][ \t]+)?/) {
      options = substr($0, RSTART, RLENGTH)
      rest = substr($0, RLENGTH + 1)
      sub(/[ \t]*#.*/, "", rest)
      if (split(rest, word, /[ \t]+/) < 3 || word[2] != codename) next
      print "Types: deb\nURIs: " word[1] "\nSuites: " suite
      printf "Components:"
      for (i = 3; i in word; i++) printf " %s", word[i]
      print ""
      if (match(options, /signed-by=[^] \t]+/)) print "Signed-By: " substr(options, RSTART + 10, RLENGTH - 10)
      print ""
    }' "${files[@]}"
}
