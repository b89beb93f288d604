// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a helper waits in real time for what must happen. It is
// a limit for a busy machine, not a duration that anything takes.
const patience = time.Minute

// programVar is the environment variable that makes a test binary run a
// program instead of its tests.
const programVar = "NATSTEST_PROGRAM"

// programs are what Spawn can run; nil until Main is called. Main alone writes
// it, before any test runs.
var programs map[string]func(args []string)

// Main is the body of a TestMain whose tests call Spawn or StartProcess. It
// runs the tests, or, in a process begun by Spawn, the named program. A program
// exits with code 0 by returning. Its standard input belongs to Main: that it
// ends is how the process learns that the tests are gone.
func Main(m *testing.M, p map[string]func(args []string)) {
	programs = map[string]func([]string){"natsd": runServer}
	for name, program := range p {
		if programs[name] != nil {
			panic(fmt.Sprintf("natstest: the program %q is built in; choose another name", name))
		}
		programs[name] = program
	}
	name, spawned := os.LookupEnv(programVar)
	if !spawned {
		os.Exit(m.Run())
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1) // the tests have ended, however they did
	}()
	os.Unsetenv(programVar) // what the program starts is its own business
	programs[name](os.Args[1:])
	os.Exit(0)
}

// A Process is a program of Main in a process of its own. It is killed when the
// test ends, and dies with the tests when they do.
type Process struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process is reaped and all its output is here

	out lines
	err lines
}

// Spawn starts a program that was given to Main. It returns at once: let the
// program print a line when it is ready, and wait for that.
func Spawn(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	if programs[name] == nil {
		// Without Main the process would run these tests, and spawn, and so on.
		t.Fatalf("natstest: no program %q: give it to natstest.Main in TestMain", name)
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	p := &Process{t: t, name: name, cmd: exec.Command(exe, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), programVar+"="+name,
		// The race detector otherwise sleeps for a second before it exits.
		"GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.cmd.WaitDelay = time.Second // for output held open by something it started
	ownGroup(p.cmd)
	_, err = p.cmd.StdinPipe() // held by cmd until the process has ended
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		p.cmd.Wait() // ProcessState has the outcome
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s printed:\n%s", p, p.output())
		}
	})
	return p
}

// Line returns the next line of standard output, without its newline. It waits
// for it, and fails the test if the process ends first.
func (p *Process) Line(t testing.TB) string {
	t.Helper()
	line, ok := p.next(time.Now().Add(patience))
	if !ok {
		t.Fatalf("%s has not printed another line; all of it:\n%s", p, p.output())
	}
	return line
}

// WaitFor reads lines until one contains text, and returns that one.
func (p *Process) WaitFor(t testing.TB, text string) string {
	t.Helper()
	limit := time.Now().Add(patience)
	for {
		line, ok := p.next(limit)
		if !ok {
			t.Fatalf("%s has not printed %q; all of it:\n%s", p, text, p.output())
		}
		if strings.Contains(line, text) {
			return line
		}
	}
}

// next is the next line, or false when there is none and won't be.
func (p *Process) next(limit time.Time) (string, bool) {
	timeout := time.NewTimer(time.Until(limit))
	defer timeout.Stop()
	for {
		line, ok, more := p.out.next()
		if ok {
			return line, true
		}
		select {
		case <-more:
		case <-p.done:
			line, ok, _ = p.out.next() // printed just before it ended
			return line, ok
		case <-timeout.C:
			return "", false
		}
	}
}

// Kill ends the process as a crash does, and returns when it is gone.
func (p *Process) Kill() {
	p.signal(os.Kill)
	<-p.done
}

// Interrupt asks the process to end, with SIGTERM, and does not wait.
func (p *Process) Interrupt() { p.signal(syscall.SIGTERM) }

// Pause stops the process where it is, as a suspended machine or a long
// garbage collection does, and returns when it has stopped.
func (p *Process) Pause() {
	p.t.Helper()
	p.signal(stopSignal)
	limit := time.Now().Add(patience)
	for !stopped(p.cmd.Process.Pid) {
		if time.Now().After(limit) {
			p.t.Fatalf("%s did not stop", p)
		}
		time.Sleep(time.Millisecond)
	}
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) { p.signal(s) }

// Resume lets a paused process go on.
func (p *Process) Resume() { p.signal(continueSignal) }

// Wait waits until the process has ended and returns its exit code, or -1 when
// a signal ended it.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%s has not ended; all it printed:\n%s", p, p.output())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Output returns what the process has printed so far, to standard output and to
// standard error; after Wait that is all of it.
func (p *Process) Output() (out, err string) { return p.out.all(), p.err.all() }

func (p *Process) String() string {
	state := "running"
	select {
	case <-p.done:
		state = p.cmd.ProcessState.String()
	default:
	}
	return fmt.Sprintf("process %d, program %q, %s,", p.cmd.Process.Pid, p.name, state)
}

// signal reaches this process and no other: os.Process knows when it is reaped.
func (p *Process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("%s does not take the signal %v: %v", p, s, err)
	}
}

func (p *Process) output() string { return p.out.all() + p.err.all() }

// lines is a writer whose lines can be awaited. It never makes the process that
// prints wait.
type lines struct {
	mu   sync.Mutex // guards the rest
	text []byte
	read int           // bytes of text that next has returned
	more chan struct{} // closed by Write; nil when nobody waits
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
	return len(b), nil
}

// next returns the next whole line, or what to wait for before asking again.
func (l *lines) next() (line string, ok bool, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := bytes.IndexByte(l.text[l.read:], '\n'); i >= 0 {
		line = string(l.text[l.read : l.read+i])
		l.read += i + 1
		return strings.TrimSuffix(line, "\r"), true, nil
	}
	if l.more == nil {
		l.more = make(chan struct{})
	}
	return "", false, l.more
}

func (l *lines) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
