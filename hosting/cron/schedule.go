// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a container image often has no zones: 450 KB

	"github.com/robfig/cron/v3"
)

// A Schedule says when something is due. It is immutable; the zero value is of no
// use.
type Schedule struct {
	spec  string
	zone  *time.Location
	ticks cron.Schedule
	every time.Duration // of "@every", which is not of the clock on the wall
	fixed bool          // at certain hours of the day, not in each
}

var parser = cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// Parse reads a cron expression of five fields (minute, hour, day of month,
// month, day of week), or six with seconds first; names (MON, JAN), lists, ranges
// and steps; @hourly, @daily, @weekly, @monthly, @yearly; and @every with a
// duration of whole seconds. If both day fields are given either is enough, as in
// every cron; Sunday is 0.
//
// zone is the name of a time zone, such as "Europe/Paris", whose clock counts; ""
// is UTC. The error names the field, its position (from 1) in spec and the remedy;
// a schedule that never fires is an error too.
//
// Twice a year a zone's clock jumps. A schedule whose hour field is * goes by what
// the clock on the wall shows: again at a time that comes twice, not at one that
// does not exist. So every 20 minutes stay 20 minutes over a jump of an hour, but
// not over one of half an hour (Lord Howe). A schedule that names hours, as */2
// does, fires once for each time it names: at a time that does not exist, when the
// gap is over (02:30 becomes 03:00); at a time that comes twice, the first time.
//
// @every counts from the Unix epoch, so that all processes agree: @every 90m fires
// at 00:00, 01:30 and so on of 1 January 1970, and at each 90 minutes since.
func Parse(spec, zone string) (Schedule, error) {
	s, err := parse(spec, zone)
	if err != nil {
		return Schedule{}, fmt.Errorf("cron: %w", err)
	}
	return s, nil
}

func parse(spec, zone string) (Schedule, error) {
	s := Schedule{spec: strings.Join(strings.Fields(spec), " ")}
	var errZone, err error
	if zone == "Local" {
		errZone = errors.New(`zone "Local" differs between machines: want a name such as "Europe/Paris", or "" for UTC`)
	} else if s.zone, errZone = time.LoadLocation(zone); errZone != nil {
		errZone = fmt.Errorf("zone %q is unknown: want a name such as \"Europe/Paris\", or \"\" for UTC", zone)
	}
	if strings.HasPrefix(s.spec, "@every ") {
		s.every, err = parseEvery(spec)
	} else {
		err = s.parseSpec(spec)
	}
	if err = errors.Join(errZone, err); err != nil {
		return Schedule{}, err
	}
	if s.Next(time.Now()).IsZero() {
		return Schedule{}, explainNever(spec)
	}
	return s, nil
}

func parseEvery(spec string) (time.Duration, error) {
	duration := fieldsOf(spec)[1]
	duration.text = strings.TrimSpace(spec[duration.position-1:]) // all the rest, if there are more words
	every, err := time.ParseDuration(duration.text)
	if err != nil || every < time.Second || every%time.Second != 0 {
		return 0, duration.wrong(spec, "duration", errors.New("want whole seconds, 1s or more, such as 90s or 1h30m"))
	}
	return every, nil
}

func (s *Schedule) parseSpec(spec string) error {
	fields := fieldsOf(spec)
	if len(fields) > 0 && strings.Contains(fields[0].text, "TZ=") {
		return fields[0].wrong(spec, "zone", errors.New("give the zone as a parameter"))
	}
	ticks, err := parser.Parse(s.spec)
	if err != nil || slices.ContainsFunc(fields, func(f field) bool { return emptyItem(f.text) }) {
		return explain(spec, err)
	}
	if t, ok := ticks.(*cron.SpecSchedule); ok {
		const star = 1 << 63 // how the library remembers a *
		s.fixed = t.Hour&star == 0
		t.Location = time.UTC // see nextOnWall
	}
	s.ticks = ticks
	return nil
}

// Next returns the first time after t at which s fires, in the zone of s, or the
// zero time if there is none within five years.
func (s Schedule) Next(t time.Time) time.Time {
	if s.every > 0 {
		since := t.Unix() - mod(t.Unix(), int64(s.every/time.Second))
		return time.Unix(since, 0).Add(s.every).In(s.zone)
	}
	return s.nextOnWall(t.In(s.zone))
}

// nextOnWall asks the library for what the clock on the wall shows, as if it were
// UTC, which never jumps: in the zone itself the library loses a day that has no
// midnight, and never returns where a day is missing. Then it looks between which
// two jumps the clock shows that.
func (s Schedule) nextOnWall(t time.Time) time.Time {
	from := onWall(t)
	if jump, _ := t.ZoneBounds(); s.fixed && !jump.IsZero() {
		from = latest(from, onWall(jump.Add(-1))) // what was shown before the clock went back has fired
	}
	wall := s.ticks.Next(from)
	for start := t; !wall.IsZero(); {
		_, offset := start.Zone()
		at := wall.Add(-time.Duration(offset) * time.Second).In(s.zone)
		end := nextJump(start)
		if end.IsZero() || at.Before(end) {
			return latest(at, start) // at is before start if the clock jumped over wall
		}
		start = end
		// From here the clock may show again what came before from, or be past wall.
		if begin := onWall(start).Add(-1); !s.fixed && (begin.Before(from) || !begin.Before(wall)) {
			from, wall = begin, s.ticks.Next(begin)
		}
	}
	return wall
}

// nextJump is when the clock of t's zone jumps next, if only by nothing, or zero.
func nextJump(t time.Time) time.Time {
	_, end := t.ZoneBounds()
	if !end.IsZero() && !end.After(t) {
		// Go 1.26 ends each year that is past a zone's table after 365 days.
		end = end.Add(24 * time.Hour)
	}
	return end
}

// onWall is a time in UTC that shows what t shows.
func onWall(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// mod is the remainder that is never negative.
func mod(a, n int64) int64 { return (a%n + n) % n }

// NextN returns the next n times, fewer if there are no more.
func (s Schedule) NextN(t time.Time, n int) []time.Time {
	var all []time.Time
	for len(all) < n {
		if t = s.Next(t); t.IsZero() {
			break
		}
		all = append(all, t)
	}
	return all
}

// Spec returns the expression, with single spaces.
func (s Schedule) Spec() string { return s.spec }

// Zone returns the name of the time zone, "UTC" by default.
func (s Schedule) Zone() string { return s.zone.String() }

// String returns the expression and the zone.
func (s Schedule) String() string { return s.spec + " " + s.Zone() }
