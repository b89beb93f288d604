// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package natsd runs a real nats-server with JetStream inside this process, so
// that development, tests, examples and single-machine deployments need
// nothing installed. The same code runs against a cluster once it connects to
// one instead.
//
// # Guarantees
//
//   - When Start returns without an error, JetStream answers and Conn is
//     connected. When it fails, nothing of it is left running, and the error
//     holds the server's own reason, which the server itself only logs.
//   - With Options.Dir every write is synced to disk before it is acknowledged
//     (unless SyncInterval relaxes it), so neither a crash of the process nor a
//     power cut loses an acknowledged job.
//   - A Dir has one server at a time: Start refuses one that is in use, in this
//     process or another one on the same machine.
//   - Without Options.Dir nothing outlives Close: the data lies in a temporary
//     directory that Close removes. A killed process leaves it to the system's
//     own cleaning.
//   - Nothing listens on the network unless Options.Listen says so, and no
//     signal handler is installed: stopping is up to the program.
//
// # What it does not do
//
// It runs one server, not a cluster, and has no users or TLS: Listen belongs on
// loopback or a trusted network. A cluster needs nats-server itself; it does
// not take over a Dir.
//
// It does not check the messages: of a damaged message file the server keeps
// what it can read, and may not even log that.
//
// # Failure
//
// Start fails when the directory is in use by another server, cannot be
// written, or holds messages of a stream that the server can't read and would
// leave out; when Listen is taken; and when an option is out of range, naming
// each that is. It waits for as long as recovering the directory takes.
//
// Close ends the connections from outside like any other server: they go on
// trying to reconnect, by their own options. Conn is closed and reports
// nats.ErrConnectionClosed.
//
// Linking this package adds about 15 MB to a binary; no other package of
// jetjobs imports it.
package natsd

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Options say where the server keeps its data and who can reach it. The zero
// value is a private server in a temporary directory.
type Options struct {
	// Dir is the directory that keeps the data, made if it is missing. Keep
	// it on a local disk. Default: a temporary directory that is removed by Close.
	Dir string

	// Listen is the "host:port" on which the nats CLI and other processes can
	// connect; port 0 picks a free one, see URL. Default: in this process only.
	Listen string

	// SyncInterval is how long a write may stay unsynced when Dir is set.
	// Default 0: every write is synced before it is acknowledged. Two minutes
	// is what nats-server itself does; it is far faster for single writes, and
	// a power cut may then lose the last two minutes.
	SyncInterval time.Duration

	// MaxStore limits the bytes on disk. Default: three quarters of what is free.
	MaxStore int64

	// MaxPayload limits the bytes of one message. Default: 1 MiB.
	MaxPayload int

	// Logger gets what the server has to say: errors and warnings at their
	// level, notices at Debug. Default: slog.Default().
	Logger *slog.Logger
}

// A Server is a running nats-server and one connection to it. Its methods may
// be called concurrently.
type Server struct {
	srv    *server.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	temp   string // removed by Close, unless empty
	unlock func() // called by Close, unless nil

	closing atomic.Bool
	closed  chan struct{}
}

// Start starts a server and waits until JetStream answers. The error names the
// options that are wrong or gives the server's reason.
func Start(opts Options) (*Server, error) {
	config, err := opts.serverOptions()
	if err != nil {
		return nil, fmt.Errorf("natsd: %w", err)
	}
	s := &Server{closed: make(chan struct{})}
	if err := s.start(opts, config); err != nil {
		s.Close()
		return nil, fmt.Errorf("natsd: %w", err)
	}
	return s, nil
}

func (s *Server) start(opts Options, config *server.Options) (err error) {
	if opts.Dir == "" {
		if s.temp, err = os.MkdirTemp("", "natsd-"); err != nil {
			return err
		}
		config.StoreDir = s.temp
	} else if s.unlock, err = lockDir(opts.Dir); err != nil {
		return err
	}
	log := &logger{to: cmp.Or(opts.Logger, slog.Default())}
	if s.srv, err = server.NewServer(config); err != nil {
		return err
	}
	s.srv.SetLoggerV2(log, false, false, false)
	s.srv.Start() // returns when it takes connections, or has given up
	if reason := log.firstFatal(); reason != "" {
		return errors.New(reason)
	}
	if s.conn, err = s.Connect(nats.Name("natsd")); err != nil {
		return err
	}
	if s.js, err = jetstream.New(s.conn); err != nil {
		return err
	}
	return checkRecovered(config.StoreDir, s.js, log)
}

// serverOptions checks the options and translates them, without touching the disk.
func (o Options) serverOptions() (*server.Options, error) {
	var errs []error
	for _, v := range []struct {
		name  string
		value any
		wrong bool
	}{
		{"Options.SyncInterval", o.SyncInterval, o.SyncInterval < 0},
		{"Options.MaxStore", o.MaxStore, o.MaxStore < 0},
		{"Options.MaxPayload", o.MaxPayload, o.MaxPayload < 0},
	} {
		if v.wrong {
			errs = append(errs, fmt.Errorf("%s is %v: want zero for the default, or more", v.name, v.value))
		}
	}
	if o.SyncInterval > 0 && o.Dir == "" {
		errs = append(errs, fmt.Errorf("Options.SyncInterval is %s without Dir: a temporary directory is never synced; set Dir or leave it out", o.SyncInterval))
	}
	if o.MaxPayload > server.MAX_PAYLOAD_MAX_SIZE {
		errs = append(errs, fmt.Errorf("Options.MaxPayload is %d: the server takes at most %d; keep larger things elsewhere and send a reference", o.MaxPayload, server.MAX_PAYLOAD_MAX_SIZE))
	}
	config := &server.Options{
		ServerName:             "natsd",
		DontListen:             o.Listen == "",
		JetStream:              true,
		StoreDir:               o.Dir,
		JetStreamMaxStore:      o.MaxStore,
		SyncAlways:             o.Dir != "" && o.SyncInterval == 0,
		SyncInterval:           o.SyncInterval,
		MaxPayload:             int32(o.MaxPayload),
		NoSigs:                 true, // else a SIGINT makes the server call os.Exit
		DisableJetStreamBanner: true,
	}
	if o.Listen != "" {
		host, port, err := splitListen(o.Listen)
		if err != nil {
			errs = append(errs, err)
		}
		config.Host, config.Port = host, port
	}
	return config, errors.Join(errs...)
}

func splitListen(listen string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("Options.Listen is %q: want host:port, such as 127.0.0.1:4222, or 127.0.0.1:0 for a free port", listen)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return cmp.Or(host, "0.0.0.0"), port, nil
}

// Conn is a connection to the server from within this process, closed by Close.
func (s *Server) Conn() *nats.Conn { return s.conn }

// JetStream is JetStream on Conn.
func (s *Server) JetStream() jetstream.JetStream { return s.js }

// Connect opens another connection from within this process; closing it is up
// to the caller.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	return nats.Connect("", append([]nats.Option{nats.InProcessServer(s)}, opts...)...)
}

// InProcessConn makes the server's end of an in-process connection; it lets a
// Server be given to nats.InProcessServer.
func (s *Server) InProcessConn() (net.Conn, error) { return s.srv.InProcessConn() }

// URL is where other processes on this machine connect, such as
// nats://127.0.0.1:4222, or empty when the server does not listen.
func (s *Server) URL() string {
	addr, ok := s.srv.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	host := addr.IP
	if host.IsUnspecified() { // [::], too, takes IPv4
		host = net.IPv4(127, 0, 0, 1)
	}
	return "nats://" + net.JoinHostPort(host.String(), strconv.Itoa(addr.Port))
}

// Close closes Conn, stops the server, waits until it has written what it
// holds, and removes a temporary directory. It may be called more than once;
// every call returns when all of that is done.
func (s *Server) Close() {
	if s.closing.Swap(true) {
		<-s.closed // not a Mutex, behind which fake time would stand still
		return
	}
	defer close(s.closed)
	if s.conn != nil {
		s.conn.Close()
	}
	if s.srv != nil {
		s.srv.Shutdown()
		s.srv.WaitForShutdown()
	}
	if s.temp != "" {
		os.RemoveAll(s.temp)
	}
	if s.unlock != nil {
		s.unlock()
	}
}
