// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestColumnsStandThoughCellsAreEmpty(t *testing.T) {
	var out strings.Builder
	table := newTable(&out)
	table.row("ID", "DETAIL", "PAYLOAD")
	table.row("a", "permanent, no such address", "{}")
	table.row("b", "done", "")
	table.row("c", "", "")
	table.row("d", "", "{}")
	require.NoError(t, table.flush())
	require.Equal(t, `ID  DETAIL                      PAYLOAD
a   permanent, no such address  {}
b   done
c
d                               {}
`, out.String())
}
