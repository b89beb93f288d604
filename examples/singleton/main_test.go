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

func TestItHandsOverWithGrowingFences(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "singleton")
	out, err := exec.Command("go", "build", "-o", exe, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command(exe).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("it printed:\n%s", out)

	runs := regexp.MustCompile(`process (\d) runs the job, fence (\d+)\n`).FindAllStringSubmatch(string(out), -1)
	require.Len(t, runs, 7)
	last := 0
	for _, run := range runs {
		fence, err := strconv.Atoi(run[2])
		require.NoError(t, err)
		require.Greater(t, fence, last)
		last = fence
	}
	killed := regexp.MustCompile(`kill -9 process (\d)\n`).FindStringSubmatch(string(out))
	require.Equal(t, runs[3][1], killed[1])
	for _, run := range runs[4:] {
		require.NotEqual(t, killed[1], run[1], "the dead stay dead")
	}
	require.Regexp(t, `it took over after [12]\.\d s`, string(out))
}
