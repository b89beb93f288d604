// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNoTickIsMissedOrDoubled(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "cron")
	out, err := exec.Command("go", "build", "-o", exe, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command(exe).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("it printed:\n%s", out)
	require.Contains(t, string(out), "9 ticks, 0 missed, 0 doubled\n")

	killed := regexp.MustCompile(`kill -9 (process \d), `).FindStringSubmatch(string(out))
	require.NotNil(t, killed)
	_, after, _ := strings.Cut(string(out), killed[0])
	require.NotContains(t, after, killed[1]+" ran", "the dead stay dead")
	require.Contains(t, after, " ran the tick of ")
}
