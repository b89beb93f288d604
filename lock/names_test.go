// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamesOnTheServer(t *testing.T) {
	require.Equal(t, "jobs_locks", bucketOf("jobs"))
	require.Equal(t, "KV_jobs_locks", streamOf("jobs_locks"))
	require.Equal(t, "$KV.jobs_locks.lock.x", subjectOf("jobs_locks", "lock.x"))
	for name, want := range map[string]string{
		"invoices":     "lock.invoices",
		"a-B_9/z":      "lock.a-B_9/z",
		"order 7":      "lock.order=207",
		"a.b":          "lock.a=2Eb",
		"*":            "lock.=2A",
		">":            "lock.=3E",
		"50%=half":     "lock.50=25=3Dhalf",
		"Łódź":         "lock.=C5=81=C3=B3d=C5=BA",
		"line\nbreak":  "lock.line=0Abreak",
		"\x00\xff bad": "lock.=00=FF=20bad",
	} {
		require.Equal(t, want, keyOf(lockKind, "", name))
	}
	require.Equal(t, "throttle.eu=2Ewest.mail.smtp", keyOf(throttleKind, scopeOf(scopeOf("", "eu.west"), "mail"), "smtp"))
}

func TestNamesThatCannotBe(t *testing.T) {
	require.NoError(t, checkName("", strings.Repeat("a", 1000)))
	require.ErrorContains(t, checkName("", ""), "empty")
	require.ErrorContains(t, checkName("", strings.Repeat("ü", 300)), "1809 bytes: want at most 1024")
	require.ErrorContains(t, checkName(strings.Repeat("s", 1000)+".", "abcdefghijklmno"), "use a hash")
	for _, bad := range []string{"a.b", "a b", "ä", "*", "x/y", "a>"} {
		require.ErrorContains(t, checkNamespace(bad), "want only", bad)
	}
	require.NoError(t, checkNamespace("Jobs-2_b"))
	require.ErrorContains(t, checkNamespace(strings.Repeat("n", 33)), "at most 32")
}

// validKey is what nats.go takes for a key, so that its tools can read ours.
var validKey = regexp.MustCompile(`^[-/_=\.a-zA-Z0-9]+$`)

func FuzzKeys(f *testing.F) {
	f.Add("a", "b", "", "s")
	f.Add("a.b", "a=2Eb", "a", "a.")
	f.Fuzz(func(t *testing.T, a, b, scopeA, scopeB string) {
		key := func(scope, name string) string {
			if scope != "" {
				scope = scopeOf("", scope)
			}
			return keyOf(lockKind, scope, name)
		}
		if a == "" || b == "" {
			return
		}
		one, other := key(scopeA, a), key(scopeB, b)
		require.Regexp(t, validKey, one)
		require.NotContains(t, one, "..")
		require.Equal(t, a == b && scopeA == scopeB, one == other, "%q and %q", one, other)
	})
}
