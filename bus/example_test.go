// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/jetjobs/jetjobs/bus"
	"github.com/jetjobs/jetjobs/hosting/natsd"
)

// OrderShipped is published when an order leaves the house. The topic belongs
// in a package that publishers and subscribers share.
type OrderShipped struct {
	Customer string
	Parcels  int
}

const Shipped bus.Topic[OrderShipped] = "orders.shipped"

func Example() {
	srv, err := natsd.Start(natsd.Options{}) // or nats.Connect to a server or cluster
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	b, err := bus.New(srv.Conn(), bus.Options{})
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	notified := make(chan string)
	sub, err := Shipped.Subscribe(ctx, b, func(ctx context.Context, m *bus.Message[OrderShipped]) error {
		notified <- fmt.Sprintf("%s: %d parcels are on their way", m.Value.Customer, m.Value.Parcels)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	defer sub.Close()

	if err := Shipped.Publish(ctx, b, OrderShipped{Customer: "Ada", Parcels: 2}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-notified)
	// Output: Ada: 2 parcels are on their way
}

// newBus is the beginning of Example, for the other examples.
func newBus() (b *bus.Bus, end func()) {
	srv, err := natsd.Start(natsd.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if b, err = bus.New(srv.Conn(), bus.Options{}); err != nil {
		log.Fatal(err)
	}
	return b, srv.Close
}

// Messages may be published before the loop begins: Listen has subscribed.
func ExampleTopic_Listen() {
	b, end := newBus()
	defer end()
	ctx := context.Background()

	shipped, err := Shipped.Listen(ctx, b)
	if err != nil {
		log.Fatal(err)
	}
	for _, customer := range []string{"Ada", "Grace", "Barbara"} {
		if err := Shipped.Publish(ctx, b, OrderShipped{Customer: customer}); err != nil {
			log.Fatal(err)
		}
	}
	for m, err := range shipped {
		if err != nil {
			log.Fatal(err) // the connection was closed
		}
		fmt.Println(m.Value.Customer)
		if m.Value.Customer == "Grace" {
			break // ends the subscription
		}
	}
	// Output:
	// Ada
	// Grace
}

type Progress struct{ Percent int }

// A topic with wildcards is a family of topics: With makes one of them to publish
// on, or narrows what is subscribed to.
func ExampleTopic_With() {
	const progress bus.Topic[Progress] = "imports.*.*" // tenant, file
	b, end := newBus()
	defer end()
	ctx := context.Background()

	eu, err := progress.With("eu").Listen(ctx, b)
	if err != nil {
		log.Fatal(err)
	}
	_ = progress.With("us", "orders.csv").Publish(ctx, b, Progress{Percent: 20})
	_ = progress.With("eu", "parts 1.csv").Publish(ctx, b, Progress{Percent: 50})
	for m := range eu {
		names, _ := progress.Values(m.Topic)
		fmt.Printf("%s: %q is at %d%%\n", m.Topic, names, m.Value.Percent)
		break
	}
	// Output: imports.eu.parts%201%2Ecsv: ["eu" "parts 1.csv"] is at 50%
}

// Each message goes to one of the group, in whatever process it is; here, two in one.
func ExampleGroup() {
	b, end := newBus()
	defer end()
	ctx := context.Background()

	done := make(chan string, 10)
	for range 2 {
		sub, err := Shipped.Subscribe(ctx, b, func(_ context.Context, m *bus.Message[OrderShipped]) error {
			done <- m.Value.Customer
			return nil
		}, bus.Group("mailers"))
		if err != nil {
			log.Fatal(err)
		}
		defer sub.Close()
	}
	_ = Shipped.Publish(ctx, b, OrderShipped{Customer: "Ada"})
	fmt.Println(<-done, len(done))
	// Output: Ada 0
}

type Weight struct{ Grams int }
type Price struct{ Cents int }

const Quote bus.Endpoint[Weight, Price] = "prices.quote"

// A handler's error comes back to the caller, with a code if the handler gives one.
func ExampleEndpoint() {
	b, end := newBus()
	defer end()
	ctx := context.Background()

	_, err := Quote.Request(ctx, b, Weight{Grams: 100})
	fmt.Println("nobody there:", errors.Is(err, bus.ErrNoResponder))

	sub, err := Quote.Respond(ctx, b, func(_ context.Context, m *bus.Message[Weight]) (Price, error) {
		if m.Value.Grams > 20_000 {
			return Price{}, &bus.ReplyError{Code: "too-heavy", Text: "we carry up to 20 kg"}
		}
		return Price{Cents: 300 + m.Value.Grams/10}, nil
	}, bus.Concurrency(8))
	if err != nil {
		log.Fatal(err)
	}
	defer sub.Close()

	price, err := Quote.Request(ctx, b, Weight{Grams: 1200})
	fmt.Println(price.Cents, err)

	_, err = Quote.Request(ctx, b, Weight{Grams: 90_000})
	if failed, ok := errors.AsType[*bus.ReplyError](err); ok {
		fmt.Println(failed.Code, "-", failed.Text)
	}
	// Output:
	// nobody there: true
	// 420 <nil>
	// too-heavy - we carry up to 20 kg
}

// The server keeps the message, so the publisher need not live until then.
func ExampleDelay() {
	b, end := newBus()
	defer end()
	ctx := context.Background()

	shipped, err := Shipped.Listen(ctx, b)
	if err != nil {
		log.Fatal(err)
	}
	began := time.Now()
	err = Shipped.Publish(ctx, b, OrderShipped{Customer: "Ada"}, bus.Delay(300*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	for m := range shipped {
		fmt.Println(m.Value.Customer, time.Since(began) >= 300*time.Millisecond)
		break
	}
	// Output: Ada true
}

// Raw sees everything as it is, with its envelope.
func ExampleRaw() {
	b, end := newBus()
	defer end()
	ctx := context.Background()

	everything, err := bus.Topic[bus.Raw]("orders.>").Listen(ctx, b)
	if err != nil {
		log.Fatal(err)
	}
	_ = Shipped.Publish(ctx, b, OrderShipped{Customer: "Ada"}, bus.CorrelationID("order-7"), bus.Property("tenant", "eu"))
	for m := range everything {
		fmt.Println(m.Topic, string(m.Value), m.CorrelationID, m.Properties["tenant"])
		if m.Topic == string(Shipped) {
			var shipped OrderShipped
			if err := json.Unmarshal(m.Value, &shipped); err != nil {
				log.Fatal(err)
			}
			fmt.Println(shipped.Customer)
		}
		break
	}
	// Output:
	// orders.shipped {"Customer":"Ada","Parcels":0} order-7 eu
	// Ada
}

// Other spaces of subjects hold other topics, on the same connection.
func ExampleBus_Space() {
	b, end := newBus()
	defer end()
	ctx := context.Background()

	audit := b.Space("audit") // jobs.audit.… instead of jobs.bus.…
	shipped, err := Shipped.Listen(ctx, audit)
	if err != nil {
		log.Fatal(err)
	}
	_ = Shipped.Publish(ctx, b, OrderShipped{Customer: "Ada"})
	_ = Shipped.Publish(ctx, audit, OrderShipped{Customer: "Grace"})
	for m := range shipped {
		fmt.Println(m.Value.Customer)
		break
	}
	// Output: Grace
}

// What was lost is counted, here with a handler that never gets on.
func ExampleBus_Stats() {
	b, end := newBus()
	defer end()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	begun := make(chan bool)
	sub, err := Shipped.Subscribe(ctx, b, func(context.Context, *bus.Message[OrderShipped]) error {
		begun <- true
		<-ctx.Done()
		return nil
	}, bus.Buffer(10))
	if err != nil {
		log.Fatal(err)
	}
	_ = Shipped.Publish(ctx, b, OrderShipped{})
	<-begun
	for range 99 {
		_ = Shipped.Publish(ctx, b, OrderShipped{})
	}
	for b.Stats()[0].Received < 100 {
		time.Sleep(time.Millisecond)
	}
	for _, s := range b.Stats() {
		fmt.Printf("%s: %d waiting, %d dropped\n", s.Topic, s.Waiting, s.Dropped)
	}
	cancel()
	fmt.Println(sub.Wait())
	// Output:
	// orders.shipped: 10 waiting, 89 dropped
	// <nil>
}
