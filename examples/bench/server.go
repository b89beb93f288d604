// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetjobs/jetjobs/hosting/natsd"
)

// A server is where a run takes place: in a process of its own, in this one, or
// elsewhere.
type server struct {
	where   string
	connect func() (*nats.Conn, error)
	close   func() error

	mu    sync.Mutex // guards the rest, which is nil unless the server is a child
	in    io.Writer
	lines *bufio.Reader
}

// startServer starts the server that a configuration asks for, or says where it is.
func startServer(c config) (*server, error) {
	opts := []nats.Option{nats.Name("jetjobs bench"), nats.MaxReconnects(-1)}
	switch {
	case c.url != "":
		if c.creds != "" {
			opts = append(opts, nats.UserCredentials(c.creds))
		}
		return &server{
			where:   "elsewhere",
			connect: func() (*nats.Conn, error) { return nats.Connect(c.url, opts...) },
			close:   func() error { return nil },
		}, nil
	case c.embedded:
		srv, remove, err := startNATS(c.sync, "")
		if err != nil {
			return nil, err
		}
		return &server{
			where:   "in this process",
			connect: func() (*nats.Conn, error) { return srv.Connect(opts...) },
			close:   remove,
		}, nil
	}
	return startChild(c.sync, opts)
}

// startNATS starts a server on a temporary directory.
func startNATS(sync bool, listen string) (srv *natsd.Server, remove func() error, err error) {
	dir, err := os.MkdirTemp("", "jetjobs-bench-")
	if err != nil {
		return nil, nil, err
	}
	opts := natsd.Options{Dir: dir, Listen: listen, SyncInterval: 2 * time.Minute} // nats-server's own default
	if sync {
		opts.SyncInterval = 0
	}
	if srv, err = natsd.Start(opts); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return srv, func() error {
		srv.Close()
		return os.RemoveAll(dir)
	}, nil
}

// serveCommand makes this program the server; syncArgument makes that sync.
const (
	serveCommand = "serve"
	syncArgument = "sync"
)

// startChild starts this program again as the server, which ends with its input
// and so, however this one does, with it.
func startChild(sync bool, opts []nats.Option) (*server, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, serveCommand)
	if sync {
		cmd.Args = append(cmd.Args, syncArgument)
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{where: "in a process of its own", in: in, lines: bufio.NewReader(out)}
	s.close = func() error { return errors.Join(in.Close(), cmd.Wait()) }
	url, err := s.lines.ReadString('\n')
	if err != nil {
		return nil, errors.Join(errors.New("the server has not started"), s.close())
	}
	s.connect = func() (*nats.Conn, error) { return nats.Connect(strings.TrimSpace(url), opts...) }
	return s, nil
}

// What the child is asked on its input; it answers both with its usage.
const (
	askUsage  = "usage"
	askSettle = "settle" // and gives back the memory that it does not need
)

// serve is the child: a server until its input ends.
func serve(args []string) error {
	// Ctrl-C in a terminal goes to both. The parent still needs the server then.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	srv, remove, err := startNATS(slices.Contains(args, syncArgument), "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(srv.URL())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if lines.Text() == askSettle {
			debug.FreeOSMemory()
		}
		cpu, _ := processCPU()
		fmt.Println(cpu.Nanoseconds(), residentBytes())
	}
	return remove()
}

// separate reports whether the server tells what it uses.
func (s *server) separate() bool { return s.in != nil && measuresCPU }

// ask returns how much processor time the server has used since its start, and
// how much memory it uses now.
func (s *server) ask(what string) (cpu time.Duration, memory int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := fmt.Fprintln(s.in, what); err != nil {
		return 0, 0, fmt.Errorf("the server has ended: %w", err)
	}
	line, err := s.lines.ReadString('\n')
	if err != nil {
		return 0, 0, fmt.Errorf("the server has ended: %w", err)
	}
	_, err = fmt.Sscan(line, &cpu, &memory)
	return cpu, memory, err
}

// residentBytes is the memory of this process, or 0 where that can't be known.
func residentBytes() int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
