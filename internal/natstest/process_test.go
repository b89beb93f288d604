// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natstest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	Main(m, map[string]func([]string){
		"echo": func(args []string) {
			for _, a := range args {
				fmt.Println(a)
			}
			fmt.Fprintln(os.Stderr, "to stderr")
		},
		"exit":   func([]string) { os.Exit(7) },
		"count":  count,
		"term":   exitOnTerm,
		"parent": parent,
	})
}

// count prints a number every millisecond, for ever.
func count([]string) {
	for i := 0; ; i++ {
		fmt.Println(i)
		time.Sleep(time.Millisecond)
	}
}

func exitOnTerm([]string) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("ready")
	<-c
	fmt.Println("stopping")
	os.Exit(3)
}

// A programTB is as much of a test as Spawn needs when nothing goes wrong.
type programTB struct{ testing.TB }

func (programTB) Helper()                           {}
func (programTB) Cleanup(func())                    {}
func (programTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// parent spawns a server on the directory and address it is given, and pauses
// it at SIGTERM.
func parent(args []string) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	p := Spawn(programTB{}, "natsd", args...)
	fmt.Println(p.Line(programTB{}))
	<-term
	p.Pause()
	fmt.Println("paused")
	select {}
}

func TestSpawnRunsAProgramWithItsArguments(t *testing.T) {
	p := Spawn(t, "echo", "-test.run=no", "two words", "", "last")
	require.Equal(t, "-test.run=no", p.Line(t), "flags are the program's own")
	require.Equal(t, "two words", p.Line(t))
	require.Empty(t, p.Line(t))
	require.Equal(t, "last", p.Line(t))
	require.Zero(t, p.Wait())
	require.Contains(t, p.output(), "to stderr")
}

func TestWaitForSkipsLinesAndKeepsTheRest(t *testing.T) {
	p := Spawn(t, "echo", "a", "b", "c", "d")
	require.Equal(t, "c", p.WaitFor(t, "c"))
	p.Wait()
	require.Equal(t, "d", p.Line(t), "printed before the end, read after")
}

func TestWaitReturnsTheExitCode(t *testing.T) {
	require.Equal(t, 7, Spawn(t, "exit").Wait())
}

func TestOutputTellsTheStreamsApart(t *testing.T) {
	p := Spawn(t, "echo", "a", "b")
	require.Equal(t, "a", p.Line(t))
	require.Zero(t, p.Wait())
	out, err := p.Output()
	require.Equal(t, []string{"a\nb\n", "to stderr\n"}, []string{out, err}, "lines that were read are in it too")
}

func TestInterruptLetsAProgramFinish(t *testing.T) {
	p := Spawn(t, "term")
	p.WaitFor(t, "ready")
	p.Interrupt()
	p.WaitFor(t, "stopping")
	require.Equal(t, 3, p.Wait())
}

func TestKillEndsAProcessAtOnceEvenAPausedOne(t *testing.T) {
	for _, before := range []func(*Process){(*Process).Resume, (*Process).Pause, (*Process).Kill} {
		p := Spawn(t, "term")
		p.WaitFor(t, "ready")
		before(p)
		p.Kill()
		require.Equal(t, -1, p.Wait())
		require.NotContains(t, p.output(), "stopping")
	}
}

func TestAPausedProcessDoesNothingUntilItIsResumed(t *testing.T) {
	p := Spawn(t, "count")
	p.WaitFor(t, "5")
	p.Pause()
	// What it printed before is still on its way through the pipe.
	for before := ""; before != p.output(); time.Sleep(10 * time.Millisecond) {
		before = p.output()
	}
	require.True(t, stopped(p.cmd.Process.Pid))
	time.Sleep(20 * time.Millisecond)
	held := p.output()
	time.Sleep(20 * time.Millisecond)
	require.Equal(t, held, p.output())
	p.Resume()
	p.WaitFor(t, fmt.Sprint(strings.Count(held, "\n")+5))
}

func TestAProcessIsGoneWhenItsTestEnds(t *testing.T) {
	var p *Process
	t.Run("test", func(t *testing.T) {
		p = Spawn(t, "count")
		p.Line(t)
	})
	require.ErrorIs(t, p.cmd.Process.Signal(syscall.Signal(0)), os.ErrProcessDone, "reaped, too")
}

func TestAProcessDiesWithTheTests(t *testing.T) {
	for _, state := range []string{"running", "paused"} {
		t.Run(state, func(t *testing.T) {
			addr := freeAddr(t)
			p := Spawn(t, "parent", t.TempDir(), addr)
			p.WaitFor(t, "ready")
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
			r := bufio.NewReader(conn)
			_, err = r.ReadString('\n')
			require.NoError(t, err, "the server lives")
			if state == "paused" {
				p.Interrupt()
				p.WaitFor(t, "paused")
			}
			p.Kill()
			for err == nil {
				_, err = r.ReadString('\n')
			}
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		})
	}
}

func TestSpawnRefusesWhatMainDoesNotKnow(t *testing.T) {
	fatal := make(chan string, 1)
	var wg sync.WaitGroup // Fatalf ends the goroutine that calls it
	wg.Go(func() { Spawn(fatalTB{t, fatal}, "unknown") })
	wg.Wait()
	require.Contains(t, <-fatal, `no program "unknown"`)
}

// A fatalTB is a test whose failure is what the test wants.
type fatalTB struct {
	*testing.T
	fatal chan string
}

func (f fatalTB) Fatalf(format string, args ...any) {
	f.fatal <- fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestAServerProcessKeepsWhatItAcknowledgedWhenKilled(t *testing.T) {
	s := StartProcess(t)
	js := s.JetStream()
	c := workQueue(t, js)
	_, err := js.Publish(t.Context(), "s.1", []byte("kept"))
	require.NoError(t, err)
	url := s.URL()

	s.Kill()
	s.Restart()
	require.Equal(t, url, s.URL())
	m, err := c.Next(jetstream.FetchMaxWait(patience))
	require.NoError(t, err, "the client has found its way back")
	require.Equal(t, "kept", string(m.Data()))

	s.Interrupt()
	require.Zero(t, s.Wait(), "a clean stop")
	s.Restart()
	_, err = s.JetStream().Stream(t.Context(), "S")
	require.NoError(t, err)
}

func TestAPausedServerProcessAnswersLate(t *testing.T) {
	s := StartProcess(t)
	js := s.JetStream()
	workQueue(t, js)
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := js.Publish(ctx, "s.1", nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	s.Resume()
	ack, err := js.Publish(t.Context(), "s.2", nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, ack.Sequence, "after the one that was given up")
}
