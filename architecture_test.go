// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package jetjobs_test

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/jetjobs/jetjobs/"

// mayImport is the map of the module: which of our packages each one may
// import, and why. Arrows point down and never sideways.
var mayImport = map[string][]string{
	// What a job is; the standard library and small helpers only.
	"jobs":             {"internal/guard", "internal/backoff"},
	"internal/guard":   {},
	"internal/backoff": {},

	// Small and shared: names on the wire, codecs, the check of the server.
	"internal/wirename": {},
	"internal/codec":    {},
	"internal/apilevel": {},
	"internal/tracing":  {}, // the only one that knows OpenTelemetry

	// A queue job is a jobs.Job. Queue, lock and bus don't know each other, so
	// that each can be used alone.
	"queue": {"jobs", "internal/tracing", "internal/guard", "internal/backoff", "internal/wirename", "internal/codec", "internal/apilevel"},
	"lock":  {"jobs", "internal/guard", "internal/backoff", "internal/apilevel"},
	"bus":   {"internal/guard", "internal/backoff", "internal/wirename", "internal/codec", "internal/apilevel"},

	// Work items are queue jobs that tell of themselves over the bus.
	"workitem": {"jobs", "queue", "bus", "internal/guard", "internal/backoff", "internal/wirename", "internal/codec"},

	// The host runs everything; distributed cron needs a queue and a lock.
	"hosting":      {"jobs", "queue", "hosting/cron", "internal/guard", "internal/backoff"},
	"hosting/cron": {"jobs", "queue", "lock", "internal/guard", "internal/backoff"},

	// The embedded server adds 15 MB to a binary, so it is alone.
	"hosting/natsd": {},

	// Real servers for tests, ours and our users'.
	"internal/natstest": {"hosting/natsd"},
	"queue/queuetest":   {"queue", "internal/natstest"},
}

// serverUsers are the only packages that may link nats-server.
var serverUsers = []string{"hosting/natsd", "internal/natstest", "queue/queuetest"}

// outside is what our packages may depend on, by the first part of the path.
// Test dependencies don't count.
var outside = []string{
	"github.com/nats-io/nats.go", "github.com/nats-io/nkeys", "github.com/nats-io/nuid", "github.com/klauspost/compress", // nats.go itself
	"golang.org/x/crypto", "golang.org/x/sys", // nats.go: nkeys and TLS
	"github.com/synadia-io/orbit.go",                           // atomic batches and batched direct gets, which nats.go lacks
	"github.com/robfig/cron/v3",                                // the grammar of cron expressions
	"go.opentelemetry.io/otel", "github.com/cespare/xxhash/v2", // W3C trace context, by its API only
}

type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

// list is go list of the patterns.
func list(t *testing.T, args ...string) (all []pkg) {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports,Deps"}, args...)...).Output()
	require.NoError(t, err)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := d.Decode(&p)
		if err == io.EOF {
			return all
		}
		require.NoError(t, err)
		all = append(all, p)
	}
}

func TestArrowsPointDown(t *testing.T) {
	seen := 0
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, module)
		if name == p.ImportPath || strings.HasPrefix(name, "examples/") {
			continue // the root has no code, and examples may use anything
		}
		seen++
		allowed, known := mayImport[name]
		require.True(t, known, "package %s is not on the map", name)
		for _, dep := range p.Imports {
			if ours, ok := strings.CutPrefix(dep, module); ok {
				require.Contains(t, allowed, ours, "%s imports %s", name, ours)
			}
		}
	}
	require.Greater(t, seen, 5)
}

func TestOnlyTheEmbeddedServerLinksNATSServer(t *testing.T) {
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, module)
		if strings.HasPrefix(name, "examples/") || slices.Contains(serverUsers, name) {
			continue
		}
		for _, dep := range p.Deps {
			require.False(t, strings.HasPrefix(dep, "github.com/nats-io/nats-server/"), "%s links %s", name, dep)
			require.NotEqual(t, module+"internal/natstest", dep, "%s links the test servers", name)
		}
	}
}

func TestDependenciesAreFewAndJobsHasNone(t *testing.T) {
	standard := map[string]bool{}
	for _, p := range list(t, "-deps", "./...") {
		standard[p.ImportPath] = p.Standard
	}
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, module)
		if name == p.ImportPath || strings.HasPrefix(name, "examples/") || slices.Contains(serverUsers, name) {
			continue
		}
		for _, dep := range p.Deps {
			if standard[dep] || strings.HasPrefix(dep, module) {
				continue
			}
			require.NotEqual(t, "jobs", name, "jobs depends on %s", dep)
			require.True(t, slices.ContainsFunc(outside, func(o string) bool { return dep == o || strings.HasPrefix(dep, o+"/") }), "%s depends on %s", name, dep)
		}
	}
}
