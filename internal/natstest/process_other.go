// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package natstest

import (
	"os/exec"
	"syscall"
)

// A process can't be paused here; the signals that would are refused, which
// fails the test that asks.
const (
	stopSignal     = syscall.Signal(-1)
	continueSignal = syscall.Signal(-2)
)

func ownGroup(*exec.Cmd) {}

func stopped(int) bool { return true }
