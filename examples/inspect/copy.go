// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"

	"github.com/jetjobs/jetjobs/queue"
)

func enqueueCopy(fs *flag.FlagSet) action {
	var payload json.RawMessage
	fs.Func("payload", "the payload of the copy, as `JSON`; a work item is better corrected by -set data.name=value", func(s string) error {
		if payload = json.RawMessage(s); !json.Valid(payload) {
			return errors.New("want JSON")
		}
		return nil
	})
	var sets []correction
	fs.Func("set", "correct a field, as `path=value`: JSON or text, such as to=ada@example.com or lines.0.count=3; may be given several times", func(s string) error {
		c, err := parseCorrection(s)
		sets = append(sets, c)
		return err
	})
	newID := fs.String("id", "", "the `ID` of the copy (default: the queue makes one)")
	delay := defineLength(fs, "delay", "how long the copy waits before it is due")
	return onQueue(func(ctx context.Context, in *inspector, q *opened, args []string) error {
		var edit func(*json.RawMessage) error // none: a copy of the very bytes
		if payload != nil || len(sets) > 0 {
			edit = func(v *json.RawMessage) (err error) {
				if payload != nil {
					*v = payload
				}
				*v, err = correct(*v, sets)
				return err
			}
		}
		var opts []queue.EnqueueOption
		if *newID != "" {
			opts = append(opts, queue.ID(*newID))
		}
		if *delay != 0 {
			opts = append(opts, queue.Delay(*delay))
		}
		id := args[0]
		receipt, err := q.EnqueueCopy(ctx, id, edit, opts...)
		switch {
		case err != nil:
			return q.whyNot(ctx, id, err, "the payload of such a job is gone, so there is nothing to copy")
		case receipt.Duplicate:
			return &wrongStateError{receipt.ID, receipt.State, "nothing was enqueued, as there can't be another job with this ID"}
		}
		return in.tell(map[string]any{"id": receipt.ID, "copy_of": id}, "enqueued %s, a copy of %s, which is left as it was",
			oneLine(receipt.ID, 0), oneLine(id, 0))
	})
}

// A correction sets one field of a payload.
type correction struct {
	path []string
	text string
}

func parseCorrection(s string) (correction, error) {
	path, text, ok := strings.Cut(s, "=")
	if !ok || path == "" {
		return correction{}, errors.New("want path=value")
	}
	return correction{strings.Split(path, "."), text}, nil
}

// value is what to set in place of an old one. What is not JSON is text, so that
// to=ada@example.com needs no quotes; neither does zip=10001 if the old zip is text.
func (c correction) value(old any) any {
	_, isText := old.(string)
	if !json.Valid([]byte(c.text)) || isText && !strings.HasPrefix(strings.TrimSpace(c.text), `"`) && c.text != "null" {
		return c.text
	}
	return json.RawMessage(c.text)
}

// correct applies corrections to a payload.
func correct(payload json.RawMessage, all []correction) (json.RawMessage, error) {
	if len(all) == 0 {
		return payload, nil
	}
	var root any
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber() // a number that is not touched stays as it is
	if err := d.Decode(&root); err != nil {
		return nil, err
	}
	for _, c := range all {
		if err := c.apply(root); err != nil {
			return nil, fmt.Errorf("-set %s: %w", strings.Join(c.path, "."), err)
		}
	}
	return json.Marshal(root)
}

// apply walks to the last name of the path. A field may be added; what leads there must
// be in the payload, so that a misspelt path is found out.
func (c correction) apply(at any) error {
	for i, name := range c.path {
		last := i == len(c.path)-1
		switch node := at.(type) {
		case map[string]any:
			if last {
				node[name] = c.value(node[name])
				return nil
			}
			at = node[name]
		case []any:
			n, err := strconv.Atoi(name)
			if err != nil || n < 0 || n >= len(node) {
				return fmt.Errorf("%q is none of the %d elements there", name, len(node))
			}
			if last {
				node[n] = c.value(node[n])
				return nil
			}
			at = node[n]
		default:
			return fmt.Errorf("there is nothing that could have a %q", name)
		}
	}
	return nil
}
