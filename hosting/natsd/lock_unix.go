// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package natsd

import (
	"errors"
	"os"
	"syscall"
)

// lockFile locks a file, made if it is missing, against every other open file,
// in this process too.
func lockFile(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	fd := int(f.Fd())
	switch err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB); {
	case err == syscall.EWOULDBLOCK:
		f.Close()
		return nil, errInUse
	case errors.Is(err, errors.ErrUnsupported):
		// A file system without locks: better unguarded than not at all.
	case err != nil:
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: name, Err: err}
	}
	return func() {
		// A process that is being started right now holds a copy of the file,
		// and with it the lock, until it becomes its own program.
		syscall.Flock(fd, syscall.LOCK_UN)
		f.Close()
	}, nil
}
