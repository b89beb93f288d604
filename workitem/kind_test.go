// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/lock"
)

func nothing(context.Context, *Context[load]) error { return nil }

// panics returns what f panics with.
func panics(t *testing.T, f func()) (text string) {
	t.Helper()
	defer func() { text, _ = recover().(string); require.NotEmpty(t, text) }()
	f()
	return ""
}

func TestKindRegisteredTwicePanicsWithBothPlaces(t *testing.T) {
	h := new(Handlers)
	Register(h, loading, nothing)
	text := panics(t, func() { Register(h, loading, nothing) })
	require.Regexp(t, `kind "load" is registered twice: at workitem/kind_test\.go:\d+ and at workitem/kind_test\.go:\d+$`, text)
	text = panics(t, func() { Register(h, "unload", nothing, Alias("load")) })
	require.Contains(t, text, `kind "load" is registered twice`)
	Register(h, "other", nothing, Alias("older"))
	require.Contains(t, panics(t, func() { Register(h, "older", nothing) }), `kind "older" is registered twice`)
}

func TestRegisterPanicsOnMistakes(t *testing.T) {
	h := new(Handlers)
	for want, f := range map[string]func(){
		"the kind is empty":              func() { Register(h, "", nothing) },
		"want UTF-8 without control":     func() { Register(h, "a\nb", nothing) },
		"at most 256":                    func() { Register(h, Kind[load](strings.Repeat("x", 257)), nothing) },
		"the handlers or the handler is": func() { Register[load](h, "x", nil) },
		"LockBy has a key of string, and the kind is workitem.load": func() {
			Register(h, "x", nothing, LockBy(&lock.Locker{}, func(s string) string { return s }))
		},
		"no locks or no key": func() { Register(h, "x", nothing, LockBy(&lock.Locker{}, (func(load) string)(nil))) },
	} {
		require.Contains(t, panics(t, f), want)
	}
	require.Nil(t, h.find("x"))
}

func TestAliasTakesItemsOfTheOldName(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		old, fresh := enqueue(t, q, "a.csv"), ""
		const renamed Kind[load] = "load-file"
		r, err := Enqueue(t.Context(), q, renamed, load{"b.csv"})
		require.NoError(t, err)
		fresh = r.ID
		seen := map[string]string{}
		h := new(Handlers)
		Register(h, renamed, func(_ context.Context, c *Context[load]) error {
			seen[c.ID()] = c.Kind()
			return nil
		}, Alias("load"))
		work(t, q, h, JobOptions{})
		watch(t, q, old)
		watch(t, q, fresh)
		require.Equal(t, map[string]string{old: "load", fresh: "load-file"}, seen)
	})
}

func TestUnknownKindsAreLeftForADayUnlessTheOptionsSayMore(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		require.Equal(t, 24*time.Hour, NewJob(q, new(Handlers), nil, JobOptions{}).unknownFor)
	})
}

func TestNewJobPanicsOnMistakes(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue) {
		require.Panics(t, func() { NewJob(q, nil, nil, JobOptions{}) })
		require.Panics(t, func() { NewJob(q, new(Handlers), nil, JobOptions{UnknownFor: -1}) })
		require.Panics(t, func() { NewJob(q, new(Handlers), nil, JobOptions{Concurrency: -1}) })
	})
}
