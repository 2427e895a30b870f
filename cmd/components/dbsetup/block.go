// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup

import (
	"fmt"
	"strings"

	"github.com/dapr-custody/custody/internal/database"
)

// Files of the server hold what is ours in blocks that are marked with the name of the document.
const (
	beginMark = "# custody begin "
	endMark   = "# custody end "
)

// identMap is the user name map of pg_hba.conf lines: the common name of the certificate is the role, and no other.
const identMap = "custody"

// hbaLines let the roles in from where the document says with a certificate for just that role, and nowhere else and in
// no other way, whatever lines come after.
func hbaLines(d *database.Database) []string {
	var lines []string
	for _, role := range d.Names() {
		for _, client := range d.Clients {
			lines = append(lines, fmt.Sprintf(`hostssl "%s" %s %s cert map=%s`, d.DBName, role, client, identMap))
		}
		lines = append(lines, fmt.Sprintf("host all %s all reject", role), fmt.Sprintf("local all %s reject", role))
	}
	return lines
}

func identLines(d *database.Database) []string {
	var lines []string
	for _, role := range d.Names() {
		lines = append(lines, fmt.Sprintf("%s %s %s", identMap, role, role))
	}
	return lines
}

// block is where the block of a document stands in a file, in lines from begin to before end; absent if both are 0.
type block struct{ begin, end int }

// find gives the block of a name, and whether a line that says something stands before it outside of any block. A mark
// without its other half is an error, since what belongs to it cannot be told.
func find(lines []string, name string) (found block, preceded bool, err error) {
	open, said := "", false
	for i, line := range lines {
		line = strings.TrimSpace(line)
		begin, begins := strings.CutPrefix(line, beginMark)
		end, ends := strings.CutPrefix(line, endMark)
		switch {
		case begins && open != "", ends && open != end:
			return block{}, false, fmt.Errorf("line %d: %q does not fit the marks before it: repair the marks by hand", i+1, line)
		case begins:
			open = begin
			if begin == name {
				if found.end > 0 {
					return block{}, false, fmt.Errorf("line %d: there is a second block %q: remove one by hand", i+1, name)
				}
				found.begin, preceded = i, said
			}
		case ends:
			open = ""
			if end == name {
				found.end = i + 1
			}
		case open == "" && line != "" && !strings.HasPrefix(line, "#"):
			said = true
		}
	}
	if open != "" {
		return block{}, false, fmt.Errorf("%q has no %q: repair the marks by hand", beginMark+open, endMark+open)
	}
	return found, preceded, nil
}

// split gives the lines of a text, each with its end.
func split(text string) []string { return strings.SplitAfter(text, "\n") }

// withBlock puts the block of a name before all other lines of a text. It is the same text if the block is there.
func withBlock(text, name string, lines []string) (string, error) {
	all := split(text)
	at, preceded, err := find(all, name)
	if err != nil {
		return "", err
	}
	wanted := render(name, lines)
	if at.end > 0 && !preceded && strings.Join(all[at.begin:at.end], "") == wanted {
		return text, nil
	}
	return wanted + strings.Join(append(all[:at.begin:at.begin], all[at.end:]...), ""), nil
}

// withoutBlock takes the block of a name out.
func withoutBlock(text, name string) (string, error) {
	all := split(text)
	at, _, err := find(all, name)
	if err != nil {
		return "", err
	}
	return strings.Join(append(all[:at.begin:at.begin], all[at.end:]...), ""), nil
}

// blockOf gives the lines of the block of a name, without its marks.
func blockOf(text, name string) ([]string, error) {
	all := split(text)
	at, _, err := find(all, name)
	if err != nil || at.end == 0 {
		return nil, err
	}
	lines := all[at.begin+1 : at.end-1]
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines, nil
}

func render(name string, lines []string) string {
	return beginMark + name + "\n" + strings.Join(lines, "\n") + "\n" + endMark + name + "\n"
}
