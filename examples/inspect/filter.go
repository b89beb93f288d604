// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jetjobs/jetjobs/queue"
	"github.com/jetjobs/jetjobs/workitem"
)

// defineFilter adds the flags of a filter, but for the states.
func defineFilter(fs *flag.FlagSet, f *workitem.Filter) {
	fs.StringVar(&f.IDPrefix, "prefix", "", "only IDs that begin with this `text`")
	fs.StringVar(&f.CorrelationID, "correlation", "", "only this correlation `ID`")
	fs.StringVar(&f.Error, "error", "", "only jobs whose last error has this `text` in it")
	fs.Func("property", "only jobs with this property, as `name=value`; may be given several times", func(s string) error {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("want name=value")
		}
		if f.Properties == nil {
			f.Properties = map[string]string{}
		}
		f.Properties[name] = value
		return nil
	})
	fs.Func("kind", "only work items of this `kind`; may be given several times", func(s string) error {
		if f.Kinds = append(f.Kinds, s); s == "" {
			return errors.New("want the name of one")
		}
		return nil
	})
	fs.Func("after", "only jobs enqueued at this `time` or after it; 10m means ten minutes ago", pastFlag(&f.EnqueuedAfter))
	fs.Func("before", "only jobs enqueued before this `time`", pastFlag(&f.EnqueuedBefore))
	fs.BoolVar(&f.Newest, "newest", false, "what was written last first")
	fs.Func("limit", "how `many` jobs at most", func(s string) (err error) {
		if f.Limit, err = strconv.Atoi(s); err != nil || f.Limit < 1 {
			return errors.New("want a number of at least 1, in digits")
		}
		return nil
	})
}

// defineStates adds the flag that selects states among those that make sense.
func defineStates(fs *flag.FlagSet, f *workitem.Filter, sense ...queue.State) {
	var names []string
	for _, s := range sense {
		names = append(names, string(s))
	}
	choice := strings.Join(names, ", ")
	fs.Func("state", "only these `states`, comma-separated: "+choice, func(s string) error {
		for name := range strings.SplitSeq(s, ",") {
			if !strings.Contains(","+strings.Join(names, ",")+",", ","+name+",") {
				return fmt.Errorf("%q is none of %s", name, choice)
			}
			f.States = append(f.States, queue.State(name))
		}
		return nil
	})
}

// chosen reports whether f leaves any job out.
func chosen(f workitem.Filter) bool { return !f.Empty() || len(f.Kinds) > 0 }

// checkSpan refuses a filter that no job can pass, in the words of its flags.
func checkSpan(f workitem.Filter) error {
	if !f.EnqueuedAfter.IsZero() && !f.EnqueuedBefore.IsZero() && !f.EnqueuedAfter.Before(f.EnqueuedBefore) {
		return misused("-after is %s and -before is %s: want -after to be the earlier one",
			f.EnqueuedAfter.Local().Format(time.DateTime), f.EnqueuedBefore.Local().Format(time.DateTime))
	}
	return nil
}

// checkSelection wants either IDs or a filter, and -all from who means every job.
func checkSelection(ids []string, f workitem.Filter) error {
	switch {
	case len(ids) > 0 && (chosen(f) || f.All || f.Limit > 0):
		return misused("give IDs or a filter, not both")
	case len(ids) == 0 && !chosen(f) && !f.All:
		return misused("which jobs? Give IDs, or a filter, or -all if every job is meant")
	case chosen(f) && f.All:
		return misused("-all means every job: leave out either it or the filter")
	}
	return checkSpan(f)
}

// defineLength adds a flag for a length of time.
func defineLength(fs *flag.FlagSet, name, usage string) *time.Duration {
	var length time.Duration
	fs.Func(name, usage, func(s string) (err error) {
		if length, err = time.ParseDuration(s); err != nil || length < 0 {
			return errors.New("want a time such as 90s or 1h, and none below zero")
		}
		return nil
	})
	return &length
}

func pastFlag(to *time.Time) func(string) error {
	return func(s string) (err error) {
		*to, err = parseTime(s, -1)
		return err
	}
}

// parseTime reads a time, or a duration from now, forwards with sign 1 and back
// with -1.
func parseTime(s string, sign time.Duration) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return time.Now().Add(sign * d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: want 2006-01-02T15:04:05Z, \"2006-01-02 15:04:05\", 2006-01-02, or a duration such as 10m", s)
}
