// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"crypto/rand"
	"strings"
)

// newID is that of a run: 12 characters with 60 random bits.
func newID() string { return strings.ToLower(rand.Text()[:12]) }
