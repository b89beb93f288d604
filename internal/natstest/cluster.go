// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natstest

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// A Cluster is some nats-servers in this process that replicate streams among
// each other over loopback, in real time. Its nodes are numbered from 0.
// JetStream, NewJetStream and Connect may be called concurrently, the rest by
// one goroutine at a time.
//
// A leader that is stopped hands over within half a second. Where nobody is
// left to hand over, as when a majority was down, an election takes 4 to 9 s;
// the server does not let that be changed. A node can't crash within this process.
type Cluster struct {
	t     testing.TB
	nodes []*node
}

// A node is one server of a Cluster, running or not.
type node struct {
	name   string
	dir    string
	client string // the address clients connect to
	route  string // the address the other nodes connect to
	log    nodeLog
	srv    *server.Server // nil when it is stopped
}

// StartCluster starts a cluster of n nodes, stopped when the test ends. When it
// returns, every node knows the meta leader and can be given a replica.
// That takes 0.3 s mostly, and some 5 s when the first vote is split.
func StartCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for i := range n {
		c.nodes = append(c.nodes, &node{
			name: fmt.Sprintf("node-%d", i), dir: t.TempDir(), client: freeAddr(t), route: freeAddr(t),
		})
	}
	t.Cleanup(c.stopAll)
	for _, n := range c.nodes {
		c.begin(n)
	}
	c.awaitReady()
	return c
}

// JetStream is JetStream on a new connection to node i, which waits for that
// node when it is stopped.
func (c *Cluster) JetStream(i int, opts ...nats.Option) jetstream.JetStream {
	c.t.Helper()
	alone := append([]nats.Option{nats.IgnoreDiscoveredServers()}, opts...)
	return newJetStream(c.t, connect(c.t, "nats://"+c.nodes[i].client, alone...))
}

// NewJetStream is JetStream on a new connection to any node.
func (c *Cluster) NewJetStream(opts ...nats.Option) jetstream.JetStream {
	c.t.Helper()
	return newJetStream(c.t, c.Connect(opts...))
}

// Connect opens a connection to any node, which goes to another one when that
// stops, and is closed when the test ends.
func (c *Cluster) Connect(opts ...nats.Option) *nats.Conn {
	c.t.Helper()
	var urls []string
	for _, n := range c.nodes {
		urls = append(urls, "nats://"+n.client)
	}
	return connect(c.t, strings.Join(urls, ","), opts...)
}

// Stop shuts node i down cleanly. It steps down from what it leads; the others
// may still be electing when Stop returns.
func (c *Cluster) Stop(i int) { c.nodes[i].stop() }

// Restart starts node i again with the same data and addresses; one that still
// runs is stopped first. If a majority runs, Restart returns when the cluster
// can be given streams again; those it has may take some seconds to catch up on
// node i.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	c.Stop(i)
	c.begin(c.nodes[i])
	if 2*len(c.running()) > len(c.nodes) {
		c.awaitReady()
	}
}

// StreamLeader is the node that leads the stream. It waits for one.
func (c *Cluster) StreamLeader(stream string) int {
	c.t.Helper()
	leader := -1
	c.await("a leader of stream "+stream, func() bool {
		leader = slices.IndexFunc(c.nodes, func(n *node) bool { return n.leads(stream) })
		return leader >= 0
	})
	return leader
}

// StepDown makes another node lead the stream, which must have replicas, and
// returns which. That takes some 25 ms, or an election of 4 to 9 s when the
// leader hands over to a node that is not up to date yet.
func (c *Cluster) StepDown(stream string) int {
	c.t.Helper()
	before := c.StreamLeader(stream)
	for {
		require.NoError(c.t, c.nodes[before].srv.JetStreamStepdownStream(server.DEFAULT_GLOBAL_ACCOUNT, stream))
		if after := c.StreamLeader(stream); after != before {
			return after
		}
	}
}

func (n *node) leads(stream string) bool {
	return n.srv != nil && n.srv.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream)
}

// options are made anew for each start, because the server changes them.
func (c *Cluster) options(n *node) *server.Options {
	host, port := splitAddr(n.client)
	routeHost, routePort := splitAddr(n.route)
	o := &server.Options{
		ServerName:             n.name,
		Host:                   host,
		Port:                   port,
		JetStream:              true,
		StoreDir:               n.dir,
		JetStreamMaxMemory:     1 << 30,
		JetStreamMaxStore:      1 << 30,
		NoSigs:                 true,
		DisableJetStreamBanner: true,
		Cluster:                server.ClusterOpts{Name: "natstest", Host: routeHost, Port: routePort},
	}
	// To itself, too: the server takes the number of routes for the number of
	// nodes that the first election waits for.
	for _, to := range c.nodes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: to.route})
	}
	return o
}

func (c *Cluster) begin(n *node) {
	c.t.Helper()
	srv, err := server.NewServer(c.options(n))
	require.NoError(c.t, err)
	n.srv = srv
	srv.SetLoggerV2(&n.log, false, false, false)
	srv.Start()
	c.await(n.name+" to listen", func() bool {
		return srv.ReadyForConnections(time.Millisecond) || n.log.fatal()
	})
	if n.log.fatal() {
		c.t.Fatalf("natstest: %s does not start:\n%s", n.name, &n.log)
	}
}

func (n *node) stop() {
	if n.srv != nil {
		n.srv.Shutdown()
		n.srv.WaitForShutdown()
		n.srv = nil
	}
}

func (c *Cluster) stopAll() {
	var wg sync.WaitGroup
	for _, n := range c.nodes {
		wg.Go(n.stop)
	}
	wg.Wait()
	if c.t.Failed() {
		for _, n := range c.nodes {
			c.t.Logf("%s said:\n%s", n.name, &n.log)
		}
	}
}

func (c *Cluster) running() []*node {
	return slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return n.srv == nil })
}

// awaitReady waits until one node is the meta leader, has heard from every
// running node that it can take replicas, and all have its latest decisions.
func (c *Cluster) awaitReady() {
	c.t.Helper()
	running := c.running()
	c.await("the cluster to be ready", func() bool {
		var leader *node
		for _, n := range running {
			if !n.srv.JetStreamIsCurrent() {
				return false
			}
			if n.srv.JetStreamIsLeader() {
				leader = n
			}
		}
		if leader == nil {
			return false
		}
		peers := leader.srv.JetStreamClusterPeers()
		return !slices.ContainsFunc(running, func(n *node) bool { return !slices.Contains(peers, n.name) })
	})
}

// await waits for what the server only tells when asked.
func (c *Cluster) await(what string, done func() bool) {
	c.t.Helper()
	for limit := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			c.t.Fatalf("natstest: waited in vain for %s", what)
		}
	}
}

func splitAddr(addr string) (host string, port int) {
	host, text, _ := net.SplitHostPort(addr)
	port, _ = strconv.Atoi(text)
	return host, port
}

// A nodeLog keeps what a server has to say until it is of interest.
type nodeLog struct {
	mu   sync.Mutex // guards the rest
	text strings.Builder
	died bool
}

func (l *nodeLog) add(level, format string, args []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.died = l.died || level == "fatal"
	fmt.Fprintf(&l.text, time.Now().Format("15:04:05.000 ")+level+": "+format+"\n", args...)
}

func (l *nodeLog) fatal() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.died
}

func (l *nodeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *nodeLog) Noticef(format string, args ...any) { l.add("notice", format, args) }
func (l *nodeLog) Warnf(format string, args ...any)   { l.add("warning", format, args) }
func (l *nodeLog) Errorf(format string, args ...any)  { l.add("error", format, args) }
func (l *nodeLog) Fatalf(format string, args ...any)  { l.add("fatal", format, args) }

// Debug and trace are off in the server; the interface asks for them.
func (l *nodeLog) Debugf(string, ...any) {}
func (l *nodeLog) Tracef(string, ...any) {}
