// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
	"github.com/jetjobs/jetjobs/internal/wirename"
)

func TestDefaultJobIsOnePlainPublish(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		before := e.JetStream().Conn().Stats().OutMsgs
		r := enqueue(t, q, "hello")
		require.EqualValues(t, 1, e.JetStream().Conn().Stats().OutMsgs-before, "one message")
		m, err := q.c.find(t.Context(), r.ID)
		require.NoError(t, err)
		require.Equal(t, "jobs.q.q.ready.0."+r.ID, m.Subject)
		require.Empty(t, m.Header)
		require.Equal(t, `"hello"`, string(m.Data))

		entry := dequeue(t, q)
		require.Equal(t, r.ID, entry.ID())
		require.Equal(t, "hello", entry.Value)
		require.Equal(t, 1, entry.Attempt())
		require.Equal(t, 20, entry.MaxAttempts())
		require.Zero(t, entry.Interruptions())
		require.WithinDuration(t, time.Now(), entry.Enqueued(), time.Second)
		require.NoError(t, entry.Complete(t.Context()))
		requireStats(t, q, Stats{})
	})
}

func TestOptionsReachTheHandler(t *testing.T) {
	bubble(t, Options{Priorities: 3}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		began := time.Now()
		enqueue(t, q, "v", ID("näme.with *>%\t\x00\nodd"), Priority(2), MaxAttempts(1), CorrelationID("order 7"),
			Property("tenant", "a\nb"), Property("ü", ""), Delay(time.Minute), Timeout(time.Second), Expires(began.Add(time.Hour)))
		entry := dequeue(t, q)
		require.Equal(t, "näme.with *>%\t\x00\nodd", entry.ID())
		require.Equal(t, 2, entry.Priority())
		require.True(t, entry.LastAttempt())
		require.Equal(t, "order 7", entry.CorrelationID())
		require.Equal(t, map[string]string{"tenant": "a\nb", "ü": ""}, entry.Properties())
		require.Equal(t, "a\nb", entry.Property("tenant"))
		require.True(t, began.Equal(entry.Enqueued()))
		require.True(t, began.Add(time.Minute).Equal(entry.Due()))
	})
}

func TestDelayedJobIsNeverEarly(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		due := map[string]time.Time{}
		for i := range 200 {
			// odd nanoseconds: a time cut to seconds would be early
			at := time.Now().Add(time.Duration(i)*137*time.Millisecond + 999_999_999)
			due[enqueue(t, q, "", At(at)).ID] = at
			time.Sleep(time.Millisecond)
		}
		for range 200 {
			e := dequeue(t, q)
			late := time.Since(due[e.ID()])
			require.GreaterOrEqual(t, late, time.Duration(0), "early")
			require.LessOrEqual(t, late, 500*time.Millisecond)
			require.NoError(t, e.Complete(t.Context()))
		}
	})
}

func TestDelaySurvivesARestart(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		began := time.Now()
		enqueue(t, q, "later", Delay(time.Hour))
		e.Restart(time.Minute)
		entry := dequeue(t, q)
		require.WithinDuration(t, began.Add(time.Hour), time.Now(), time.Second)
		require.Equal(t, "later", entry.Value)
	})
}

func TestDelayInThePastIsAtOnce(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		began := time.Now()
		enqueue(t, q, "", At(began.Add(-time.Hour)))
		dequeue(t, q)
		require.Less(t, time.Since(began), 600*time.Millisecond)
	})
}

func TestAtMostOneJobOfAnIDInAnyState(t *testing.T) {
	bubble(t, Options{Priorities: 2}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		refused := func(state State) {
			t.Helper()
			for _, opts := range [][]EnqueueOption{{}, {Priority(1)}, {Delay(time.Hour)}} {
				r := enqueue(t, q, "second", append(opts, ID("id.1"))...)
				require.Equal(t, Receipt{ID: "id.1", Duplicate: true, State: state}, r)
			}
			_, err := q.EnqueueMany(t.Context(), Items([]string{"x"}, ID("id.1")))
			require.NoError(t, err)
		}
		enqueue(t, q, "first", ID("id.1"), Delay(time.Minute), Retain(time.Minute))
		refused("later")
		time.Sleep(time.Minute + time.Second)
		refused(Waiting)
		entry := dequeue(t, q)
		refused(Waiting) // it is running
		require.NoError(t, entry.Complete(t.Context()))
		refused("done")
		requireStats(t, q, Stats{Done: 1})
		time.Sleep(61 * time.Second)
		require.False(t, enqueue(t, q, "third", ID("id.1")).Duplicate, "retained no longer")
		require.NoError(t, dequeue(t, q).Reject(t.Context(), fmt.Errorf("no")))
		refused("dead")
		require.NoError(t, q.DeadLetters().Delete(t.Context(), "id.1"))
		require.False(t, enqueue(t, q, "fourth", ID("id.1")).Duplicate)
		require.NoError(t, dequeue(t, q).Complete(t.Context()))
		requireStats(t, q, Stats{})
	})
}

func TestRacingEnqueuesOfOneIDStoreOne(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, _ *Queue[string]) {
		var stored atomic.Int64
		var group sync.WaitGroup
		for range 20 {
			q := openOn(t, e.NewJetStream(), Options{})
			group.Go(func() {
				for range 10 {
					if r, err := q.Enqueue(t.Context(), "v", ID("one")); err != nil {
						t.Error(err)
					} else if !r.Duplicate {
						stored.Add(1)
					}
				}
			})
		}
		group.Wait()
		require.EqualValues(t, 1, stored.Load())
	})
}

func TestReplaceOverwritesWhatIsLater(t *testing.T) {
	bubble(t, Options{Priorities: 2}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		began := time.Now()
		for i := range 10 { // each call within a minute puts it off: debounce
			time.Sleep(30 * time.Second)
			r := enqueue(t, q, fmt.Sprint(i), ID("x"), Priority(i%2), Delay(time.Minute), Replace())
			require.Equal(t, Receipt{ID: "x", Replaced: i > 0}, r)
		}
		requireStats(t, q, Stats{Later: 1})
		entry := dequeue(t, q)
		require.Equal(t, "9", entry.Value)
		require.Equal(t, 1, entry.Priority())
		require.WithinDuration(t, began.Add(6*time.Minute), time.Now(), time.Second)
		require.Equal(t, Receipt{ID: "x", Duplicate: true, State: Waiting}, enqueue(t, q, "10", ID("x"), Delay(time.Minute), Replace()))
		require.NoError(t, entry.Complete(t.Context()))

		enqueue(t, q, "old", ID("x"), Delay(time.Hour))
		require.True(t, enqueue(t, q, "now", ID("x"), Replace()).Replaced)
		entry = dequeue(t, q)
		require.Equal(t, "now", entry.Value)
		require.NoError(t, entry.Complete(t.Context()))
		time.Sleep(2 * time.Hour)
		requireStats(t, q, Stats{})
	})
}

func TestReplaceRacingTheScheduleLosesNothing(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		for i := range 50 {
			due := time.Now().Add(time.Second)
			enqueue(t, q, "old", ID("x"), At(due))
			time.Sleep(time.Second + time.Duration(i-25)*20*time.Microsecond)
			r := enqueue(t, q, "new", ID("x"), Replace(), Delay(time.Second))
			entry := dequeue(t, q)
			require.Equal(t, r.Replaced, entry.Value == "new", "the receipt tells which one runs")
			require.NoError(t, entry.Complete(t.Context()))
			time.Sleep(2 * time.Second)
			requireEmpty(t, q)
		}
	})
}

// The server stores the job, but its answer is lost.
func TestEnqueueWithALostAnswerMakesOneJob(t *testing.T) {
	for _, opts := range [][]EnqueueOption{nil, {ID("mine")}, {Delay(time.Hour)}, {ID("mine"), Delay(time.Hour), Replace()}} {
		natstest.Run(t, func(t *testing.T, e *natstest.Env) {
			near := openOn(t, e.JetStream(), Options{})
			link := e.Link()
			far := openOn(t, link.JetStream(), Options{})
			var group sync.WaitGroup
			group.Go(func() {
				r, err := far.Enqueue(t.Context(), "v", opts...)
				if err != nil || r.Duplicate {
					t.Errorf("got %+v, %v", r, err)
				}
			})
			link.CutReplies()
			time.Sleep(7 * time.Second) // the first try is given up, the second is refused, and neither is heard
			link.Break()
			time.Sleep(time.Second)
			link.Heal()
			group.Wait()
			time.Sleep(time.Second)
			s, err := near.Stats(t.Context())
			require.NoError(t, err)
			require.Equal(t, 1, s.Waiting+s.Later)
		})
	}
}

func TestEnqueueManyWithALostAnswerMakesOneOfEach(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		near := openOn(t, e.JetStream(), Options{})
		enqueue(t, near, "there", ID("3"))
		link := e.Link()
		far := openOn(t, link.JetStream(), Options{})
		items := Items(make([]string, 1500))
		for i := range 10 {
			items[i].Options = []EnqueueOption{ID(fmt.Sprint(i))}
		}
		var group sync.WaitGroup
		group.Go(func() {
			receipts, err := far.EnqueueMany(t.Context(), items)
			if err != nil || len(receipts) != 1500 {
				t.Errorf("got %d receipts, %v", len(receipts), err)
			}
			for i, r := range receipts {
				if r.Duplicate != (i == 3) {
					t.Errorf("item %d: %+v", i, r)
				}
			}
		})
		// The commit of the first batch arrives, its answer does not.
		for {
			s, err := near.Stats(t.Context())
			require.NoError(t, err)
			if s.Waiting > 1 {
				break
			}
			time.Sleep(10 * time.Microsecond)
		}
		link.Break()
		time.Sleep(time.Second)
		link.Heal()
		group.Wait()
		requireStats(t, near, Stats{Waiting: 1500})
	})
}

func TestEnqueueWaitsForTheServer(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		e.Stop()
		began := time.Now()
		_, err := q.Enqueue(t.Context(), "v")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "Options.Timeout 30s")
		require.WithinDuration(t, began.Add(30*time.Second), time.Now(), time.Second)

		var group sync.WaitGroup
		group.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			_, err := q.Enqueue(ctx, "v")
			if err != nil {
				t.Error(err)
			}
		})
		time.Sleep(20 * time.Minute)
		e.Begin()
		group.Wait()
		time.Sleep(time.Second)
		s, err := q.Stats(t.Context())
		require.NoError(t, err)
		// The first one may have been stored too: its error said that it is not known.
		require.Contains(t, []int{1, 2}, s.Waiting)
	})
}

func TestEnqueueManyStoresInOrder(t *testing.T) {
	bubble(t, Options{Priorities: 2}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		values := make([]string, 2500)
		for i := range values {
			values[i] = fmt.Sprint(i)
		}
		receipts, err := q.EnqueueMany(t.Context(), Items(values))
		require.NoError(t, err)
		require.Len(t, receipts, 2500)
		requireStats(t, q, Stats{Waiting: 2500})
		i := 0
		for e, err := range q.Entries(t.Context()) {
			require.NoError(t, err)
			require.Equal(t, values[i], e.Value)
			require.Equal(t, receipts[i].ID, e.ID())
			require.NoError(t, e.Complete(t.Context()))
			if i++; i == 100 {
				break
			}
		}
		none, err := q.EnqueueMany(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, none)
	})
}

func TestEnqueueManyOfLargePayloads(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		items := Items(slices.Repeat([]string{strings.Repeat("x", 900_000)}, 30))
		_, err := q.EnqueueMany(t.Context(), items)
		require.NoError(t, err)
		requireStats(t, q, Stats{Waiting: 30})
	})
	jobs := make([]newJob, 2500)
	require.Equal(t, []int{1000, 2000, 2500}, []int{batchEnd(jobs, 0), batchEnd(jobs, 1000), batchEnd(jobs, 2000)})
	jobs = []newJob{{data: make([]byte, maxBatchBytes)}, {data: make([]byte, maxBatchBytes-1)}, {data: make([]byte, 1)}, {data: make([]byte, 1)}}
	require.Equal(t, []int{1, 3, 4}, []int{batchEnd(jobs, 0), batchEnd(jobs, 1), batchEnd(jobs, 3)})
}

func TestEnqueueManyTellsDuplicates(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "there", ID("b"))
		enqueue(t, q, "there", ID("d"), Delay(time.Hour))
		receipts, err := q.EnqueueMany(t.Context(), []Item[string]{
			{Value: "1", Options: []EnqueueOption{ID("a"), Delay(time.Minute)}},
			{Value: "2", Options: []EnqueueOption{ID("b")}},
			{Value: "3"},
			{Value: "4", Options: []EnqueueOption{ID("a")}},
			{Value: "5", Options: []EnqueueOption{ID("d"), Replace()}},
		})
		require.NoError(t, err)
		receipts[2].ID = ""
		require.Equal(t, []Receipt{
			{ID: "a"}, {ID: "b", Duplicate: true, State: Waiting}, {}, {ID: "a", Duplicate: true, State: Later}, {ID: "d", Replaced: true},
		}, receipts)
		requireStats(t, q, Stats{Waiting: 3, Later: 1})
	})
}

func TestBadInputIsRefusedBeforeAnythingIsStored(t *testing.T) {
	bubble(t, Options{Priorities: 2}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		past, soon := time.Now().Add(-time.Hour), time.Now().Add(time.Minute)
		for want, opts := range map[string][]EnqueueOption{
			"ID is empty: leave the option out":                  {ID("")},
			`ID is "\xff": want valid UTF-8`:                     {ID("\xff")},
			"ID is 257 bytes long: want at most 256":             {ID(strings.Repeat("x", 257))},
			"Delay is -1s: want more than zero":                  {Delay(-time.Second)},
			"At and Delay are both given":                        {At(soon), Delay(time.Second)},
			"At is 0001-01-01T00:00:00Z: want a time":            {At(time.Time{})},
			"Priority is 2: want 0 to 1":                         {Priority(2)},
			"Priority is -1: want 0 to 1":                        {Priority(-1)},
			"MaxAttempts is 0: want 1 to":                        {MaxAttempts(0)},
			"MaxAttempts is -3: want 1 to":                       {MaxAttempts(-3)},
			"Timeout is 0s: want more than zero":                 {Timeout(0)},
			"Retain is -1ns: want more than zero":                {Retain(-1)},
			"Z, which is past: want a time to come":              {Expires(past)},
			"before the job is due at":                           {Expires(soon), Delay(time.Hour)},
			"Replace is given without ID":                        {Replace()},
			`CorrelationID is "a\nb": want one line`:             {CorrelationID("a\nb")},
			`Property "" is "x": want UTF-8`:                     {Property("", "x")},
			"option ID is given twice: leave one out":            {ID("a"), ID("b")},
			"option Property tenant is given twice":              {Property("tenant", "a"), Property("tenant", "b")},
			"the properties and the correlation ID have 60064 b": {Property("big", strings.Repeat("x", 60_000))},
			"Retain is 2562047h47m16.854775807s: want at most":   {Retain(math.MaxInt64)},
			"Expires is 9999-12-31T00:00:00Z: want a time befor": {Expires(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))},
			"At is 2300-01-01T00:00:00Z: want a time before the": {At(time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC))},
			"Timeout is -1ns: want more than zero, or leave the": {MaxAttempts(-1), Timeout(-1)},
		} {
			_, err := q.Enqueue(t.Context(), "v", opts...)
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, `queue "q": enqueue: `)
			_, err = q.EnqueueMany(t.Context(), []Item[string]{{Value: "good"}, {Value: "bad", Options: opts}})
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, "item 1: ")
		}
		_, err := q.Enqueue(t.Context(), strings.Repeat("x", 1<<20))
		require.ErrorContains(t, err, "max_payload 1048576")
		requireStats(t, q, Stats{})
	})
}

func TestValueThatCannotBeEncodedIsRefused(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		q, err := Open[float64](t.Context(), e.JetStream(), "q", Options{})
		require.NoError(t, err)
		_, err = q.Enqueue(t.Context(), math.NaN())
		require.ErrorContains(t, err, `queue "q": enqueue: encode the value: json: unsupported value: NaN`)
	})
}

// The largest payload that is accepted can also be moved to every other state.
func TestLargestPayloadCanBeRetriedAndBuried(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
		id := strings.Repeat(".", maxIDLength)
		size := int(e.JetStream().Conn().MaxPayload()) - headroom(wirename.Encode(id)) - 100
		enqueue(t, q, strings.Repeat("x", size), ID(id), Retain(time.Hour), Delay(time.Second))
		_, err := q.Enqueue(t.Context(), strings.Repeat("x", size+100), ID(id+"x"))
		require.Error(t, err)
		long := fmt.Errorf("%s", strings.Repeat("\x01", 100_000))
		require.NoError(t, dequeue(t, q).Abandon(t.Context(), long))
		require.NoError(t, dequeue(t, q).Abandon(t.Context(), nil))
		require.NoError(t, dequeue(t, q).Reject(t.Context(), long))
		require.Len(t, deadLetters(t, q), 1)
	})
}

// A mistake far behind the first batch is found before that is stored.
func TestEnqueueManyChecksEverythingFirst(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		items := Items(make([]string, 1500))
		items[1200].Options = []EnqueueOption{ID("x")}
		items[1205].Options = []EnqueueOption{ID("x"), Replace()}
		_, err := q.EnqueueMany(t.Context(), items)
		require.ErrorContains(t, err, `item 1205: ID "x" is also that of item 1200`)
		requireStats(t, q, Stats{})
	})
}

func TestEnqueueManyTellsNoDuplicateOfWhatItCouldNotStore(t *testing.T) {
	natstest.Run(t, func(t *testing.T, e *natstest.Env) {
		link := e.Link()
		q := openOn(t, link.JetStream(), Options{Timeout: 5 * time.Second})
		link.Break()
		receipts, err := q.EnqueueMany(t.Context(), Items([]string{"a", "b"}, ID("x")))
		require.Error(t, err)
		require.Equal(t, Receipt{}, receipts[1])
	})
}

func TestReplaceMayChangeThePriority(t *testing.T) {
	bubble(t, Options{Priorities: 2}, func(t *testing.T, _ *natstest.Env, q *Queue[string]) {
		enqueue(t, q, "a", ID("x"), Delay(time.Hour), Priority(1))
		require.True(t, enqueue(t, q, "b", ID("x"), Delay(2*time.Hour), Replace()).Replaced)
		requireStats(t, q, Stats{Later: 1})
		require.True(t, enqueue(t, q, "c", ID("x"), Replace(), Priority(1)).Replaced)
		requireStats(t, q, Stats{Waiting: 1})
	})
}
