// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package wirename makes parts of NATS subjects and stream names of what users
// call things.
package wirename

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxLength is that of a name that Check accepts.
const MaxLength = 64

// Check refuses what can't be part of both a stream's name and a subject. The
// error begins with field, which says what the name is of.
func Check(field, name string) error {
	legal := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
	}
	switch {
	case name == "":
		return fmt.Errorf("%s is empty: want a name such as \"emails\"", field)
	case len(name) > MaxLength:
		return fmt.Errorf("%s is %d bytes long: want at most %d", field, len(name), MaxLength)
	case strings.ContainsFunc(name, func(r rune) bool { return !legal(r) }):
		return fmt.Errorf("%s is %q: want only letters, digits, - and _", field, name)
	}
	return nil
}

const hexDigits = "0123456789ABCDEF"

// escaped tells which bytes can't stand in a subject's token, or would make it
// mean something else: separators, wildcards, white space, control characters,
// and the escape itself. All other bytes, UTF-8 included, stand for themselves.
func escaped(b byte) bool {
	return b <= ' ' || b == 0x7f || b == '.' || b == '*' || b == '>' || b == '%'
}

// Encode makes a subject's token of any string that is not empty, and different
// ones of different strings.
func Encode(text string) string {
	n := 0
	for i := range len(text) {
		if escaped(text[i]) {
			n++
		}
	}
	if n == 0 {
		return text
	}
	b := make([]byte, 0, len(text)+2*n)
	for i := range len(text) {
		if c := text[i]; escaped(c) {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

// Decode is the inverse of Encode.
func Decode(token string) string {
	if !strings.Contains(token, "%") {
		return token
	}
	b := make([]byte, 0, len(token))
	for i := 0; i < len(token); i++ {
		if token[i] == '%' && i+2 < len(token) {
			if v, err := strconv.ParseUint(token[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(v))
				i += 2
				continue
			}
		}
		b = append(b, token[i])
	}
	return string(b)
}
