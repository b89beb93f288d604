// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetjobs/jetjobs/internal/backoff"
)

// A core is a queue of bytes: all of Queue but the type of its values.
type core struct {
	js         jetstream.JetStream
	nc         *nats.Conn
	api        string // the prefix of JetStream's requests: "$JS.API."
	names      names
	opts       Options // with defaults
	priorities int
	lease      time.Duration
	log        *slog.Logger
	late       error // the cause of a context that Options.Timeout ended

	ids        idMaker
	publisher  publisher
	group      grouper
	waiters    waiters
	teller     teller
	lastChance atomic.Bool // a job runs whose next interruption would make it dead
}

func newCore(js jetstream.JetStream, n names, opts Options) *core {
	api := strings.TrimSuffix(cmp.Or(js.Options().APIPrefix, jetstream.DefaultAPIPrefix), ".") + "." // given without it, too
	if domain := js.Options().Domain; domain != "" {
		api = "$JS." + domain + ".API."
	}
	c := &core{
		js: js, nc: js.Conn(), api: api, names: n, opts: opts,
		log:  opts.Logger.With("queue", n.queue),
		late: fmt.Errorf("no answer within Options.Timeout %s: %w", opts.Timeout, context.DeadlineExceeded),
	}
	c.group.c, c.group.all = c, make(chan struct{}, 1)
	c.publisher.nc, c.waiters.c, c.teller.c = c.nc, c, c
	return c
}

// bound gives a context without a deadline that of Options.Timeout.
func (c *core) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return c.boundFrom(ctx, time.Now())
}

func (c *core) boundFrom(ctx context.Context, began time.Time) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, began.Add(c.opts.Timeout), c.late)
}

// wrap says once which queue and what failed.
func (c *core) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("queue %q: %s: %w", c.names.queue, what, err)
}

// Errors of publishing that decide what is done next.
var (
	// errMoved says that the job did not stand where the writer expected it, or
	// that another write about it was in flight.
	errMoved = errors.New("another write about the job came first")
	// errUnanswered says that it is not known whether the message is stored.
	errUnanswered = errors.New("no answer from the server")
)

// oneTry is how long one request waits for its answer before it is made again.
// An answer that a broken connection has lost never comes, so this is what a
// short outage costs a call that was under way.
const oneTry = 2 * time.Second

// publish stores m, once, and tells apart: stored, refused by its
// compare-and-set (errMoved), unknown (errUnanswered), refused for good.
func (c *core) publish(ctx context.Context, m *nats.Msg) error {
	answer, err := c.publisher.publish(ctx, m, min(oneTry, c.opts.Timeout))
	if err != nil {
		return unanswered(err)
	}
	return understandAck(answer.Data)
}

// unanswered marks the client's errors after which it is not known whether the
// server has the message, or is worth another try.
func unanswered(err error) error {
	for _, passing := range []error{
		nats.ErrNoResponders, nats.ErrReconnectBufExceeded, nats.ErrTimeout, nats.ErrDisconnected,
		context.DeadlineExceeded, context.Canceled,
	} {
		if errors.Is(err, passing) {
			return fmt.Errorf("%w (%w)", errUnanswered, err)
		}
	}
	return err
}

// understandAck reads the answer to a publish.
func understandAck(data []byte) error {
	if isPlainAck(data) {
		return nil
	}
	return decodeAck(data)
}

// decodeAck reads an answer that is not the usual one.
func decodeAck(data []byte) error {
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return fmt.Errorf("the server answered %q: %w", data, err)
	}
	return classify(answer.Error)
}

// isPlainAck recognises the usual {"stream":"…","seq":N} without decoding it: the
// stream's name can't contain a quote.
func isPlainAck(data []byte) bool {
	const head = `{"stream":"`
	if len(data) < len(head) || string(data[:len(head)]) != head {
		return false
	}
	for i := len(head); i+8 < len(data); i++ {
		if data[i] == '"' {
			return string(data[i:i+8]) == `","seq":`
		}
	}
	return false
}

const (
	codeWrongLastSequence  = 10071
	codeWriteInFlight      = 10164 // the same on a replicated stream, while another write about it is in flight
	codeDuplicateInProcess = 10158
	codeUnavailable        = 10008 // for now: JetStream is just starting, say
)

func classify(apiErr *jetstream.APIError) error {
	switch {
	case apiErr == nil:
		return nil
	case apiErr.ErrorCode == codeWrongLastSequence, apiErr.ErrorCode == codeWriteInFlight, apiErr.ErrorCode == codeDuplicateInProcess:
		return errMoved
	case apiErr.Code == http.StatusServiceUnavailable && apiErr.ErrorCode == codeUnavailable:
		return fmt.Errorf("%w (%w)", errUnanswered, apiErr)
	}
	return apiErr
}

// expect makes a publish conditional: stored only if seq is the last sequence
// of the job, in whatever state it is; 0 for a job that is nowhere.
func (c *core) expect(m *nats.Msg, token string, seq uint64) {
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(seq, 10))
	m.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, c.names.filter(token))
}

// request asks JetStream's API and decodes the answer.
func (c *core) request(ctx context.Context, subject string, body any, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	m, err := c.nc.RequestWithContext(ctx, c.api+subject, data)
	if err != nil {
		return err
	}
	return json.Unmarshal(m.Data, answer)
}

// A stored is a message of the queue as it is read back.
type stored struct {
	Subject string    `json:"subject"`
	Seq     uint64    `json:"seq"`
	Header  []byte    `json:"hdrs"`
	Data    []byte    `json:"data"`
	Time    time.Time `json:"time"`
}

func (s *stored) header() (header, error) {
	if len(s.Header) == 0 {
		return nil, nil
	}
	h, err := nats.DecodeHeadersMsg(s.Header)
	return header(h), err
}

// find returns the last message about a job, or nil if it is nowhere. It asks
// the stream's leader: a direct get may be answered by a replica that lags.
func (c *core) find(ctx context.Context, token string) (*stored, error) {
	return c.askLeader(ctx, map[string]any{"last_by_subj": c.names.filter(token)})
}

// askLeader asks the stream's leader for a message, nil if there is none.
func (c *core) askLeader(ctx context.Context, body map[string]any) (*stored, error) {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *stored             `json:"message"`
	}
	if err := c.request(ctx, "STREAM.MSG.GET."+c.names.stream, body, &answer); err != nil {
		return nil, err
	}
	if answer.Error != nil {
		if answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return nil, nil
		}
		return nil, answer.Error
	}
	return answer.Message, nil
}

// findPatiently is find, tried until ctx ends, or the connection or the queue is
// gone for good.
func (c *core) findPatiently(ctx context.Context, token string) (*stored, error) {
	return c.patiently(ctx, func(ctx context.Context) (*stored, error) { return c.find(ctx, token) })
}

func (c *core) patiently(ctx context.Context, ask func(context.Context) (*stored, error)) (*stored, error) {
	for try := 0; ; try++ {
		one, cancel := context.WithTimeout(ctx, oneTry)
		last, err := ask(one)
		cancel()
		if err == nil || goneForGood(err) || !pause(ctx, try) {
			return last, err
		}
	}
}

// goneForGood tells the errors after which there is no point in another try.
func goneForGood(err error) bool {
	return errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, jetstream.ErrStreamNotFound)
}

// remove deletes one message; a message that is gone already is no error, and
// says false.
func (c *core) remove(ctx context.Context, seq uint64) (bool, error) {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Success bool                `json:"success"`
	}
	body := map[string]any{"seq": seq, "no_erase": true}
	if err := c.request(ctx, "STREAM.MSG.DELETE."+c.names.stream, body, &answer); err != nil {
		return false, err
	}
	if answer.Error != nil {
		if removedBefore(answer.Error) {
			return false, nil
		}
		return false, answer.Error
	}
	return answer.Success, nil
}

const (
	codeSequenceNotFound = 10043
	codeDeleteFailed     = 10057 // with the text of the store's error
)

// removedBefore recognises what the server says of a message that is not there,
// and, with another code, of one that is being removed at this moment (2.15.2).
func removedBefore(err *jetstream.APIError) bool {
	switch err.ErrorCode {
	case codeSequenceNotFound, jetstream.JSErrCodeMessageNotFound:
		return true
	case codeDeleteFailed:
		return err.Description == "no message found" || err.Description == "deleted message"
	}
	return false
}

// pause waits before another try, a little longer each time and never in step
// with others, and reports whether there is time for it.
func pause(ctx context.Context, try int) bool {
	d := min(time.Second, 5*time.Millisecond<<min(try, 10))
	return backoff.Sleep(ctx, d/2+rand.N(d/2))
}
