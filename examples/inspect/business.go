// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/jetjobs/jetjobs/hosting/natsd"
	"github.com/jetjobs/jetjobs/queue"
	"github.com/jetjobs/jetjobs/workitem"
)

// What the demo inspects: orders that are shipped, and an import of customers.

// An Order is a job of the queue "orders".
type Order struct {
	Customer string  `json:"customer"`
	Address  Address `json:"address"`
}

// An Address is where an order goes.
type Address struct {
	Street string `json:"street"`
	Zip    string `json:"zip"`
}

// A Shipment is the result of an order.
type Shipment struct {
	Parcel string `json:"parcel"`
}

// An Import is a work item of the queue "imports".
type Import struct {
	File string `json:"file"`
}

const importCSV workitem.Kind[Import] = "import-csv"

// A business is the two queues and their workers.
type business struct {
	orders  *queue.Queue[Order]
	imports *workitem.Queue
	workers sync.WaitGroup
}

// startBusiness opens the queues, lets workers at them, and returns when a job is in
// each of the states that the demo shows. The workers stop with ctx; wait for them.
func startBusiness(ctx context.Context, srv *natsd.Server) (*business, error) {
	opts := queue.Options{MaxAttempts: 3, Logger: slog.New(slog.DiscardHandler)}
	orders, err := queue.Open[Order](ctx, srv.JetStream(), "orders", opts)
	if err != nil {
		return nil, err
	}
	imports, err := workitem.Open(ctx, srv.JetStream(), "imports", workitem.Options{Queue: opts})
	if err != nil {
		return nil, err
	}
	b := &business{orders: orders, imports: imports}
	if err := b.enqueue(ctx); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	events, err := orders.Watch(limited) // before the workers, so that it misses nothing
	if err != nil {
		return nil, err
	}
	b.work(ctx)
	return b, b.settle(limited, events)
}

func (b *business) enqueue(ctx context.Context) error {
	home := Address{"12 Main Street", "10001"}
	for _, one := range []struct {
		id    string
		order Order
		opts  []queue.EnqueueOption
	}{
		{"order-1001", Order{"Ada", home}, nil},
		{"order-1002", Order{"Alan", home}, nil},
		{"order-1003", Order{"Grace", Address{"1 Navy Yard", "?"}}, nil},
		{"order-1004", Order{"Edsger", home}, nil},
		{"order-1005", Order{"Barbara", home}, []queue.EnqueueOption{queue.Delay(24 * time.Hour)}},
		{"order-1006", Order{"Donald", home}, []queue.EnqueueOption{queue.Delay(48 * time.Hour)}},
		{"order-1007", Order{"Margaret", home}, nil},
	} {
		opts := append(one.opts, queue.ID(one.id), queue.Retain(time.Hour), queue.Property("channel", "web"))
		if _, err := b.orders.Enqueue(ctx, one.order, opts...); err != nil {
			return err
		}
	}
	_, err := workitem.Enqueue(ctx, b.imports, importCSV, Import{File: "customers.csv"}, queue.ID("import-7"))
	return err
}

func (b *business) work(ctx context.Context) {
	b.workers.Go(func() {
		_ = queue.NewJob(b.orders, ship, queue.JobOptions{Concurrency: 4, Grace: -1}).RunContinuous(ctx)
	})
	var handlers workitem.Handlers
	workitem.Register(&handlers, importCSV, importCustomers)
	b.workers.Go(func() {
		_ = workitem.NewJob(b.imports, &handlers, nil, workitem.JobOptions{Grace: -1}).RunContinuous(ctx)
	})
}

// settle waits until the jobs stand where the demo wants them.
func (b *business) settle(ctx context.Context, events iter.Seq[queue.Event]) error {
	want := map[string]queue.EventType{
		"order-1001": queue.EventCompleted, "order-1002": queue.EventStarted, "order-1003": queue.EventDead,
		"order-1004": queue.EventRetrying, "order-1007": queue.EventDead,
	}
	for e := range events {
		if want[e.ID] == e.Type {
			delete(want, e.ID)
		}
		if len(want) == 0 {
			break
		}
	}
	for every := time.NewTicker(20 * time.Millisecond); ; { // what Watch tells may not be stored yet
		status, err := b.imports.Status(ctx, "import-7")
		if err != nil || status.State == workitem.Progress {
			return err
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return fmt.Errorf("the demo's jobs don't run: %w", context.Cause(ctx))
		}
	}
}

// ship plays the warehouse.
func ship(ctx context.Context, e *queue.Entry[Order]) error {
	switch {
	case e.ID() == "order-1002": // lost in the warehouse
		<-ctx.Done()
		return context.Cause(ctx)
	case e.Value.Address.Zip == "?":
		return queue.Permanent(errors.New("no such zip code: ?"))
	case e.ID() == "order-1004":
		return queue.RetryAfter(time.Hour, errors.New("out of stock"))
	case e.ID() == "order-1007" && e.LastError() == "": // the first time
		return queue.Permanent(errors.New("the carrier is on strike"))
	}
	return e.SetResult(Shipment{Parcel: "parcel of " + e.ID()})
}

// importCustomers is as far as 40 % when the demo looks.
func importCustomers(ctx context.Context, c *workitem.Context[Import]) error {
	c.Progress(40, "row 400 of 1000")
	<-ctx.Done()
	return context.Cause(ctx)
}
