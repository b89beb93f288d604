// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package apilevel tells whether a server is new enough.
package apilevel

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Required is the JetStream API level of nats-server 2.12, the first with
// message schedules, per-message TTLs and atomic batches.
const Required = 2

// Check refuses a server below Required, or without JetStream; uses names what
// is wanted of it.
func Check(ctx context.Context, js jetstream.JetStream, uses string) error {
	account, err := js.AccountInfo(ctx)
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: start nats-server with -js, or enable JetStream for this account", err)
	case err != nil:
		return fmt.Errorf("ask the server for its account: %w", err)
	}
	return check(js.Conn().ConnectedServerVersion(), account.API.Level, uses)
}

func check(version string, level int, uses string) error {
	if level < Required {
		return fmt.Errorf("nats-server %s has JetStream API level %d: want level %d (nats-server 2.12 or newer), for %s", version, level, Required, uses)
	}
	return nil
}
