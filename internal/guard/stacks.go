// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"runtime/pprof"
	"strings"
)

// Stacks returns the stacks of all goroutines that carry the pprof label key with this value, for
// a log line about code that does not end: those that pprof.Do started it on, and those it
// started itself, which inherit the label. It is empty when there are none. It stops the world
// for as long as a goroutine profile does, so it is for the rare case.
func Stacks(key, value string) string {
	var profile strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return ""
	}
	// With debug level 1 a profile is paragraphs, one for each distinct stack and set of labels:
	//	1 @ 0x4405ce 0x409b45 …
	//	# labels: {"job":"report", "run":"x7k2"}
	//	#	0x4a1f2b	main.report+0x4b	/src/main.go:17
	label := fmt.Sprintf("%q:%q", key, value)
	var found []string
	for paragraph := range strings.SplitSeq(profile.String(), "\n\n") {
		if labels := line(paragraph, "# labels: "); strings.Contains(labels, label) {
			found = append(found, strings.TrimSpace(paragraph))
		}
	}
	return strings.Join(found, "\n\n")
}

// line returns the first line of text that begins with prefix, without it.
func line(text, prefix string) string {
	for l := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(l, prefix); ok {
			return rest
		}
	}
	return ""
}
