// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queuetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jetjobs/jetjobs/queue"
)

// A job is what matchers look at.
type job struct {
	id, correlation       string
	priority, maxAttempts int
	timeout, retain       time.Duration
	due, expires          time.Time
	properties            map[string]string
}

// A Matcher wants something of a job besides its value. It returns what differs,
// or "".
type Matcher func(j job) string

func differs[V comparable](what string, want, got V) string {
	if want == got {
		return ""
	}
	return fmt.Sprintf("%s: want %v, got %v", what, want, got)
}

// ID wants a job with this ID.
func ID(id string) Matcher { return func(j job) string { return differs("ID", id, j.id) } }

// Priority wants a job of this priority.
func Priority(p int) Matcher {
	return func(j job) string { return differs("priority", p, j.priority) }
}

// MaxAttempts wants a job with so many attempts.
func MaxAttempts(n int) Matcher {
	return func(j job) string { return differs("max attempts", n, j.maxAttempts) }
}

// CorrelationID wants a job with this correlation ID.
func CorrelationID(id string) Matcher {
	return func(j job) string { return differs("correlation ID", id, j.correlation) }
}

// Property wants a job that has this property with this value, which may be empty.
func Property(key, value string) Matcher {
	return func(j job) string {
		got, has := j.properties[key]
		if !has {
			return fmt.Sprintf("property %s: want %q, got none", key, value)
		}
		return differs("property "+key, value, got)
	}
}

// Timeout wants a job whose attempts have this limit of their own; zero is for one
// without.
func Timeout(d time.Duration) Matcher {
	return func(j job) string { return differs("timeout", d, j.timeout) }
}

// Retain wants a job that is to be kept for this long; zero is for one without the
// option.
func Retain(d time.Duration) Matcher {
	return func(j job) string { return differs("retain", d, j.retain) }
}

// Expires wants a job that expires at this time, give or take a second; the zero time
// is for one that does not.
func Expires(at time.Time) Matcher {
	return func(j job) string { return differsInTime("expires", at, j.expires, "never") }
}

// DueAt wants a job that is due at this time, give or take a second; the zero time
// is for one that is not delayed.
func DueAt(at time.Time) Matcher {
	return func(j job) string { return differsInTime("due", at, j.due, "at once") }
}

// DueIn is DueAt of so long from now.
func DueIn(d time.Duration) Matcher { return DueAt(time.Now().Add(d)) }

func differsInTime(what string, want, got time.Time, zero string) string {
	if want.IsZero() == got.IsZero() && want.Sub(got).Abs() <= time.Second {
		return ""
	}
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return zero
		}
		return t.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%s: want %s, got %s", what, stamp(want), stamp(got))
}

// RequireEnqueued fails the test unless a job with this value, and all that the
// matchers want, is waiting, running or due later; it returns the first one. It
// takes nothing. Else it says of the job that is nearest what differs.
func RequireEnqueued[T any](t testing.TB, q *queue.Queue[T], want T, matchers ...Matcher) queue.Info[T] {
	t.Helper()
	all := unfinished(t, q)
	var nearest []string
	for _, i := range all {
		diff := slices.Concat(diffPayload(want, i), diffJob(i, matchers))
		if len(diff) == 0 {
			return i
		}
		if nearest == nil || len(diff) < len(nearest)-1 {
			nearest = append([]string{fmt.Sprintf("the nearest, job %q, differs:", i.ID)}, diff...)
		}
	}
	if nearest == nil {
		nearest = []string{"nothing is enqueued at all"}
	}
	t.Fatalf("queue %q has no such job among %d: want value %s\n  %s", q.Name(), len(all), show(want), strings.Join(nearest, "\n  "))
	return queue.Info[T]{}
}

// RequireNotEnqueued fails the test if a job with this value, and all that the
// matchers want, is waiting, running or due later.
func RequireNotEnqueued[T any](t testing.TB, q *queue.Queue[T], value T, matchers ...Matcher) {
	t.Helper()
	for _, i := range unfinished(t, q) {
		if len(diffPayload(value, i)) == 0 && len(diffJob(i, matchers)) == 0 {
			t.Fatalf("queue %q has job %q, which is %s, with value %s: want none", q.Name(), i.ID, i.State, show(value))
		}
	}
}

// RequireEnqueuedMany fails the test unless exactly these values, in any order, are
// waiting, running or due later.
func RequireEnqueuedMany[T any](t testing.TB, q *queue.Queue[T], want ...T) {
	t.Helper()
	var surplus []string
	missing := slices.Clone(want)
	for _, i := range unfinished(t, q) {
		at := slices.IndexFunc(missing, func(w T) bool { return len(diffPayload(w, i)) == 0 })
		if at < 0 {
			surplus = append(surplus, fmt.Sprintf("job %q is too many: %s", i.ID, showPayload(i)))
			continue
		}
		missing = slices.Delete(missing, at, at+1)
	}
	for _, w := range missing {
		surplus = append(surplus, "missing: "+show(w))
	}
	if len(surplus) > 0 {
		t.Fatalf("queue %q has other jobs than the %d wanted\n  %s", q.Name(), len(want), strings.Join(surplus, "\n  "))
	}
}

func unfinished[T any](t testing.TB, q *queue.Queue[T]) (all []queue.Info[T]) {
	t.Helper()
	states := []queue.State{queue.Waiting, queue.Running, queue.Later}
	for i, err := range q.List(t.Context(), queue.Filter{States: states}) {
		if err != nil {
			t.Fatalf("list queue %q: %v", q.Name(), err)
		}
		all = append(all, i)
	}
	return all
}

func diffJob[T any](i queue.Info[T], matchers []Matcher) (diff []string) {
	j := job{
		id: i.ID, correlation: i.CorrelationID, priority: i.Priority, maxAttempts: i.MaxAttempts,
		timeout: i.Timeout, retain: i.Retain, due: i.Due, expires: i.Expires, properties: i.Properties,
	}
	for _, m := range matchers {
		if d := m(j); d != "" {
			diff = append(diff, d)
		}
	}
	return diff
}

// diffPayload compares a job's value with the one wanted. One that could not be decoded
// is none at all: its Value is zero for want of a better.
func diffPayload[T any](want T, i queue.Info[T]) []string {
	if i.Undecodable != nil {
		return []string{fmt.Sprintf("value: want %s, got %s", show(want), showPayload(i))}
	}
	return diffValue(want, i.Value)
}

func showPayload[T any](i queue.Info[T]) string {
	if i.Undecodable != nil {
		return fmt.Sprintf("%q, which is undecodable: %v", i.Payload, i.Undecodable)
	}
	return show(i.Value)
}

// diffValue compares what is enqueued, which has been through the codec: so what
// JSON makes the same is the same. Of objects it names the fields.
func diffValue[T any](want, got T) []string {
	if reflect.DeepEqual(want, got) {
		return nil
	}
	a, errA := json.Marshal(want)
	b, errB := json.Marshal(got)
	if errA == nil && errB == nil && bytes.Equal(a, b) {
		return nil
	}
	var fieldsA, fieldsB map[string]json.RawMessage
	if json.Unmarshal(a, &fieldsA) != nil || json.Unmarshal(b, &fieldsB) != nil || fieldsA == nil || fieldsB == nil {
		return []string{fmt.Sprintf("value: want %s, got %s", show(want), show(got))}
	}
	names := maps.Clone(fieldsA)
	maps.Copy(names, fieldsB)
	var diff []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !bytes.Equal(fieldsA[name], fieldsB[name]) {
			diff = append(diff, fmt.Sprintf("value.%s: want %s, got %s", name, orNone(fieldsA[name]), orNone(fieldsB[name])))
		}
	}
	return diff
}

func orNone(data []byte) string {
	if data == nil {
		return "none"
	}
	return string(data)
}

func show(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%+v", v)
	}
	return string(data)
}
