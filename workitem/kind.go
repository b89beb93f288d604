// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package workitem

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// A Kind is a name on the wire, and the type of the values that go by it. It is
// best a constant, in a package that those who enqueue and those who work share:
//
//	const ImportCSV workitem.Kind[Import] = "import-csv"
//
// It is any UTF-8 of up to 256 bytes without control characters.
type Kind[T any] string

const maxKindLength = 256

func checkKind(kind string) error {
	switch {
	case kind == "":
		return fmt.Errorf("the kind is empty: want a name such as \"import-csv\"")
	case len(kind) > maxKindLength:
		return fmt.Errorf("the kind is %d bytes long: want at most %d", len(kind), maxKindLength)
	case !utf8.ValidString(kind) || strings.ContainsFunc(kind, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("the kind is %q: want UTF-8 without control characters", kind)
	}
	return nil
}

// A Handler does the work of one item. What it returns says what becomes of it,
// as for a queue.Handler: nil completes it, an error is tried again, and
// queue.RetryAfter, queue.Snooze and queue.Permanent steer.
//
// Its context ends with a cause (context.Cause) that says why: queue.ErrCancelled
// after Cancel, queue.ErrLeaseLost, jobs.ErrShutdown, a timeout, or that of a lost
// lock. A handler whose item was cancelled and that returns an error has ended
// as it was told; one that returns nil has completed.
type Handler[T any] func(ctx context.Context, c *Context[T]) error

// Handlers are the kinds that a process knows. The zero value knows none. It may
// be used concurrently, but is best complete before its Job runs.
type Handlers struct {
	mu    sync.RWMutex // guards kinds
	kinds map[string]*registration
}

// A registration is one kind without its type.
type registration struct {
	kind    string
	aliases []string
	place   string // where it was registered, as dir/file.go:12
	lock    *lockBy

	decode func(data []byte, codec codec) (any, error)
	handle func(ctx context.Context, r *run, value any) error
}

// codec is the part of a queue.Codec that handlers need.
type codec interface {
	Unmarshal(data []byte, v any) error
}

// Register makes handle do the work of all items of this kind. It panics if the
// kind, or an alias, is registered already, and names both places: that is a
// mistake in the program, as is anything else wrong with the arguments.
func Register[T any](handlers *Handlers, kind Kind[T], handle Handler[T], opts ...RegisterOption) {
	r := &registration{
		kind:  string(kind),
		place: caller(1),
		decode: func(data []byte, codec codec) (any, error) {
			var value T
			err := codec.Unmarshal(data, &value)
			return value, err
		},
		handle: func(ctx context.Context, r *run, value any) error {
			typed, _ := value.(T) // not ok only for a nil interface, which is its zero
			return handle(ctx, &Context[T]{Value: typed, run: r})
		},
	}
	if handlers == nil || handle == nil {
		panic(fmt.Sprintf("workitem: register kind %q at %s: the handlers or the handler is nil", r.kind, r.place))
	}
	for _, o := range opts {
		o.register(r)
	}
	if r.lock != nil {
		if err := r.lock.check(*new(T)); err != nil {
			panic(fmt.Sprintf("workitem: register kind %q at %s: %v", r.kind, r.place, err))
		}
	}
	handlers.add(r)
}

// A RegisterOption says how one kind differs from a default one.
type RegisterOption interface{ register(*registration) }

type registerOption func(*registration)

func (o registerOption) register(r *registration) { o(r) }

// Alias lets the handler do the work of items of an older kind as well, see the
// package's Renaming.
func Alias(old string) RegisterOption {
	return registerOption(func(r *registration) { r.aliases = append(r.aliases, old) })
}

func (h *Handlers) add(r *registration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kinds == nil {
		h.kinds = map[string]*registration{}
	}
	for _, kind := range append([]string{r.kind}, r.aliases...) {
		if err := checkKind(kind); err != nil {
			panic(fmt.Sprintf("workitem: register at %s: %v", r.place, err))
		}
		if there := h.kinds[kind]; there != nil {
			panic(fmt.Sprintf("workitem: kind %q is registered twice: at %s and at %s", kind, there.place, r.place))
		}
		h.kinds[kind] = r
	}
}

// find returns nil for a kind that is not known here.
func (h *Handlers) find(kind string) *registration {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.kinds[kind]
}

// caller is where the function was called that called the one skip above.
func caller(skip int) string {
	_, file, line, ok := runtime.Caller(skip + 1)
	if !ok {
		return "unknown"
	}
	return filepath.Join(cmp.Or(filepath.Base(filepath.Dir(file)), "."), filepath.Base(file)) + ":" + strconv.Itoa(line)
}
