// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEachLeadsOnceInGrowingTerms(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "leader")
	out, err := exec.Command("go", "build", "-o", exe, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command(exe).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("it printed:\n%s", out)

	terms := regexp.MustCompile(`(?m)^(\w+) leads in term (\d+)$`).FindAllStringSubmatch(string(out), -1)
	require.Len(t, terms, 3)
	last, leaders := 0, map[string]bool{}
	for _, term := range terms {
		n, err := strconv.Atoi(term[2])
		require.NoError(t, err)
		require.Greater(t, n, last)
		last, leaders[term[1]] = n, true
	}
	require.Len(t, leaders, 3)
	require.Contains(t, string(out), "observer: ")
	require.Contains(t, string(out), "nobody is left")
}
