// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"runtime/pprof"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/guard"
)

func TestCallReturnsWhatTheFunctionReturns(t *testing.T) {
	require.NoError(t, guard.Call(func() error { return nil }))
	require.Equal(t, io.EOF, guard.Call(func() error { return io.EOF }))
}

func TestPanicBecomesAnErrorWithItsStack(t *testing.T) {
	err := guard.Call(func() error { explode("boom"); return nil })

	panicked, ok := errors.AsType[*guard.PanicError](err)
	require.True(t, ok)
	require.Equal(t, "boom", panicked.Value)
	require.EqualError(t, err, "panic: boom")
	require.Contains(t, string(panicked.Stack), "guard_test.explode")
	require.NoError(t, errors.Unwrap(err))
}

func TestPanicWithAnErrorUnwrapsToIt(t *testing.T) {
	err := guard.Call(func() error { explode(io.EOF); return nil })
	require.ErrorIs(t, err, io.EOF)
	require.EqualError(t, err, "panic: EOF")
}

func TestPanicWithNilIsNotSuccess(t *testing.T) {
	_, ok := errors.AsType[*guard.PanicError](guard.Call(func() error { explode(nil); return nil }))
	require.True(t, ok)
}

func TestGoexitIsNotSuccess(t *testing.T) {
	err := guard.Call(func() error { leave(); return nil })

	panicked, ok := errors.AsType[*guard.PanicError](err)
	require.True(t, ok)
	require.Contains(t, err.Error(), "Goexit")
	require.Contains(t, string(panicked.Stack), "guard_test.leave")
}

func TestSettleRunsDoneOnceHoweverTheFunctionEnds(t *testing.T) {
	for name, fn := range map[string]func() error{
		"returns": func() error { return io.EOF },
		"panics":  func() error { explode(io.EOF); return nil },
		"Goexit":  func() error { leave(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			calls, ended := make(chan error, 2), make(chan struct{})
			go func() {
				defer close(ended)
				guard.Settle(fn, func(err error) { calls <- err })
			}()
			<-ended
			require.Len(t, calls, 1)
			require.Error(t, <-calls)
		})
	}
}

func TestStacksShowsLabelledGoroutinesAndTheirChildren(t *testing.T) {
	release, waiting := make(chan struct{}), make(chan struct{}, 2)
	ended := make(chan struct{}, 2)
	go pprof.Do(context.Background(), pprof.Labels("job", `a "quoted" name`, "run", "r1"), func(context.Context) {
		go func() { linger(waiting, release); ended <- struct{}{} }()
		stay(waiting, release)
		ended <- struct{}{}
	})
	<-waiting
	<-waiting

	stacks := guard.Stacks("run", "r1")
	require.Contains(t, stacks, "guard_test.linger")
	require.Contains(t, stacks, "guard_test.stay")
	require.NotContains(t, stacks, "testing.tRunner", "a goroutine without the label")
	require.Equal(t, stacks, guard.Stacks("job", `a "quoted" name`))
	require.Empty(t, guard.Stacks("run", "r"), "a value that only begins like it")

	close(release)
	<-ended
	<-ended
}

//go:noinline
func explode(value any) { panic(value) }

//go:noinline
func leave() { runtime.Goexit() }

//go:noinline
func stay(waiting chan<- struct{}, release <-chan struct{}) { waiting <- struct{}{}; <-release }

//go:noinline
func linger(waiting chan<- struct{}, release <-chan struct{}) { waiting <- struct{}{}; <-release }
