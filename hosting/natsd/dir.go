// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natsd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// errInUse is what lockFile returns when another process, or another server in
// this one, holds the lock.
var errInUse = errors.New("in use by another server")

// lockDir makes the directory and takes it for this server until unlock is
// called or the process ends. nats-server v2.15 has no such lock: two of them
// start on the same files without a word and overwrite each other's messages.
// The lock file stays; removing it would let two servers hold two files.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("Options.Dir: %w", err)
	}
	unlock, err = lockFile(filepath.Join(dir, "natsd.lock"))
	if errors.Is(err, errInUse) {
		return nil, fmt.Errorf("Options.Dir: %s is %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("Options.Dir: %w", err)
	}
	return unlock, nil
}

// checkRecovered returns an error when a stream in dir has messages and the
// server has left it out. nats-server v2.15 only warns about a stream whose
// description it can't read, and the next to create that stream would find it
// empty.
func checkRecovered(dir string, js jetstream.JetStream, log *logger) error {
	streams := filepath.Join(dir, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams")
	entries, _ := os.ReadDir(streams) // none in a new directory
	for _, e := range entries {
		// The server marks what it is still deleting with a dot.
		if strings.HasPrefix(e.Name(), ".") || !hasMessages(filepath.Join(streams, e.Name())) {
			continue
		}
		_, err := js.Stream(context.Background(), e.Name())
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("Options.Dir: the server can't read the stream in %s: restore that directory, or move it away to start without its messages (the server's last warning: %s)",
				filepath.Join(streams, e.Name()), log.lastWarning())
		}
	}
	return nil
}

func hasMessages(stream string) bool {
	blocks, _ := os.ReadDir(filepath.Join(stream, "msgs"))
	return slices.ContainsFunc(blocks, func(e os.DirEntry) bool {
		info, err := e.Info()
		return err == nil && filepath.Ext(e.Name()) == ".blk" && info.Size() > 0
	})
}
