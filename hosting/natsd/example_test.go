// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package natsd_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/hosting/natsd"
)

func Example() {
	srv, err := natsd.Start(natsd.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()

	ctx := context.Background()
	kv, err := srv.JetStream().CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "greetings"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := kv.PutString(ctx, "en", "hello"); err != nil {
		log.Fatal(err)
	}
	entry, err := kv.Get(ctx, "en")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(entry.Value()))
	// Output: hello
}

// A directory keeps what was acknowledged for the next start.
func ExampleStart_dir() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	ctx := context.Background()
	for range 3 {
		srv, err := natsd.Start(natsd.Options{Dir: dir})
		if err != nil {
			log.Fatal(err)
		}
		stream, err := srv.JetStream().CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "starts", Subjects: []string{"start"}})
		if err != nil {
			log.Fatal(err)
		}
		if _, err := srv.JetStream().Publish(ctx, "start", nil); err != nil {
			log.Fatal(err)
		}
		info, err := stream.Info(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("starts:", info.State.Msgs)
		srv.Close()
	}
	// Output:
	// starts: 1
	// starts: 2
	// starts: 3
}

// With Listen the nats command and other processes can connect.
func ExampleStart_listen() {
	srv, err := natsd.Start(natsd.Options{Listen: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()

	nc, err := nats.Connect(srv.URL()) // in the other process
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	fmt.Println(nc.Status(), strings.HasPrefix(srv.URL(), "nats://127.0.0.1:"))
	// Output: CONNECTED true
}
