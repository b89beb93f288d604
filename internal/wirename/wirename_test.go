// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package wirename_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/wirename"
)

func TestCheckRefusesWhatSubjectsCannotHold(t *testing.T) {
	for _, good := range []string{"a", "order-items_2", strings.Repeat("x", 64)} {
		require.NoError(t, wirename.Check("name", good))
	}
	for _, bad := range []string{"", "a.b", "a b", "a*", ">", "ü", strings.Repeat("x", 65), "a/b", "a\x00"} {
		require.ErrorContains(t, wirename.Check("the thing's name", bad), "the thing's name is ")
	}
}

func FuzzTokenKeepsEveryString(f *testing.F) {
	for _, id := range []string{"", "a", "order.7", "100%", "%2E", "%", "%%", "ü 日本\x00\t>*", "\xff\xfe"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		token := wirename.Encode(id)
		require.Equal(t, id, wirename.Decode(token))
		require.False(t, strings.ContainsAny(token, ". *>\t\r\n\x00"), "%q", token)
		require.Equal(t, utf8.ValidString(id), utf8.ValidString(token))
	})
}
