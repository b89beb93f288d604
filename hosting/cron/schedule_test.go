// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/hosting/cron"
)

func schedule(t *testing.T, spec, zone string) cron.Schedule {
	t.Helper()
	s, err := cron.Parse(spec, zone)
	require.NoError(t, err)
	return s
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return when
}

func TestEveryFormOfAScheduleFires(t *testing.T) {
	begin := "2026-01-01T00:00:30Z" // a Thursday
	for spec, want := range map[string]string{
		"* * * * *":        "2026-01-01T00:01:00Z",
		"*/15 * * * *":     "2026-01-01T00:15:00Z",
		"0 3 * * *":        "2026-01-01T03:00:00Z",
		"  0   3 * * * ":   "2026-01-01T03:00:00Z",
		"40 * * * * *":     "2026-01-01T00:00:40Z",
		"0 0 * * MON":      "2026-01-05T00:00:00Z",
		"0 0 1 feb-mar *":  "2026-02-01T00:00:00Z",
		"0 0 13 * 5":       "2026-01-02T00:00:00Z", // either day is enough
		"0 9-17/4 * * 1-5": "2026-01-01T09:00:00Z",
		"0 0 29 2 *":       "2028-02-29T00:00:00Z",
		"@hourly":          "2026-01-01T01:00:00Z",
		"@daily":           "2026-01-02T00:00:00Z",
		"@every 90m":       "2026-01-01T01:30:00Z",
		"@every 40s":       "2026-01-01T00:00:40Z",
	} {
		s := schedule(t, spec, "")
		require.Equal(t, at(t, want), s.Next(at(t, begin)), spec)
		require.Equal(t, "UTC", s.Zone())
	}
	require.Equal(t, "0 3 * * * Europe/Paris", schedule(t, " 0 3 *  * * ", "Europe/Paris").String())
	require.Len(t, schedule(t, "@daily", "").NextN(at(t, begin), 5), 5)
	before := schedule(t, "@every 1h", "").Next(at(t, "1969-12-31T22:30:00Z"))
	require.Equal(t, at(t, "1969-12-31T23:00:00Z"), before.UTC())
}

func TestWrongScheduleNamesFieldPositionAndRemedy(t *testing.T) {
	for _, c := range []struct{ spec, zone, want string }{
		{"", "", `cron: schedule "": want five fields`},
		{"@often", "", `cron: schedule "@often": want five fields`},
		{"* * * *", "", `schedule "* * * *" has 4 fields: want five`},
		{"* * * * * * *", "", "has 7 fields"},
		{"61 * * * *", "", `minute "61" (position 1): end of range (61) above maximum (59)`},
		{"0 24 * * *", "", `hour "24" (position 3)`},
		{"0  0 0 * *", "", `day of month "0" (position 6)`},
		{"0 0 * foo *", "", `month "foo" (position 7)`},
		{"0 0 * * 7", "", `day of week "7" (position 9): end of range (7) above maximum (6)`},
		{"0 0 0 * * 8", "", `day of week "8" (position 11)`},
		{"*/0 * * * *", "", `minute "*/0" (position 1): step of range should be a positive number`},
		{"1,,2 * * * *", "", `minute "1,,2" (position 1): the list has an empty item: want one comma`},
		{"0 , * * *", "", `hour "," (position 3): the list has an empty item`},
		{"0 0 ,1 * *", "", `day of month ",1" (position 5): the list has an empty item`},
		{"0 0 * * 1,", "", `day of week "1," (position 9): the list has an empty item`},
		{"0 0 30 2 *", "", `schedule "0 0 30 2 *" never fires: day of month "30" (position 5): want a day that month "2" has`},
		{" 0 0  0 31 APR,jun ?", "", `day of month "31" (position 9): want a day that month "APR,jun" has`},
		{"@every 10ms", "", `duration "10ms" (position 8): want whole seconds`},
		{"@every 1500ms", "", "want whole seconds"},
		{"@every -1s", "", "want whole seconds"},
		{"@every soon", "", "want whole seconds"},
		{"@every e", "", `duration "e" (position 8)`},
		{"@every v", "", `duration "v" (position 8)`},
		{"  @every   r", "", `duration "r" (position 12)`},
		{"@every 1h  30m x ", "", `duration "1h  30m x" (position 8)`},
		{" @often", "", `cron: schedule " @often": want five fields`},
		{"TZ=UTC 0 3 * * *", "", `"TZ=UTC" (position 1): give the zone as a parameter`},
		{"  TZ=UTC 0 3 * * *", "", `"TZ=UTC" (position 3): give the zone as a parameter`},
		{"0 3 * * *", "Europe/Pari", `zone "Europe/Pari" is unknown`},
		{"0 3 * * *", "Local", `zone "Local" differs between machines`},
	} {
		_, err := cron.Parse(c.spec, c.zone)
		require.ErrorContains(t, err, c.want, c.spec)
	}
	_, err := cron.Parse("61 24 * * *", "Nowhere")
	for _, want := range []string{"minute", "hour", "Nowhere"} {
		require.ErrorContains(t, err, want, "all problems together")
	}
}

func TestClockThatJumps(t *testing.T) {
	const paris = "Europe/Paris" // 2026-03-29 02:00 becomes 03:00, 2026-10-25 03:00 becomes 02:00
	for _, c := range []struct {
		what, spec, zone, from string
		want                   []string
	}{
		{"an hour that is missing comes when the gap is over", "30 2 * * *", paris, "2026-03-28T12:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
		{"two of the gap come once", "0,30 2 * * *", paris, "2026-03-28T12:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
		{"one after the gap is not moved", "0 2,3 * * *", paris, "2026-03-28T12:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
		{"an hour that is repeated counts once", "30 2 * * *", paris, "2026-10-24T12:00:00+02:00",
			[]string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}},
		{"asked within its repetition", "30 2 * * *", paris, "2026-10-25T02:10:00+01:00",
			[]string{"2026-10-26T02:30:00+01:00"}},
		{"each hour goes on over a gap", "0 * * * *", paris, "2026-03-29T00:30:00+01:00",
			[]string{"2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"}},
		{"each hour goes on over a repetition", "0 * * * *", paris, "2026-10-25T01:30:00+02:00",
			[]string{"2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"}},
		{"a gap at midnight", "0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00-03:00",
			[]string{"2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"}},
		{"a gap of half an hour", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00+10:30",
			[]string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"}},
		{"a day that never was", "0 12 * * *", "Pacific/Apia", "2011-12-29T11:00:00-10:00",
			[]string{"2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"}},
		{"a day without midnight, each hour", "0 * * * FRI", "Africa/Cairo", "2026-04-22T14:00:00+02:00",
			[]string{"2026-04-24T01:00:00+03:00", "2026-04-24T02:00:00+03:00"}},
		{"a day without midnight, each half hour", "*/30 * * * 0", "Asia/Beirut", "2026-03-27T14:00:00+02:00",
			[]string{"2026-03-29T01:00:00+03:00", "2026-03-29T01:30:00+03:00"}},
		{"a day that never was, each hour", "0 * 1-7 * *", "Pacific/Apia", "2011-12-29T11:00:00-10:00",
			[]string{"2012-01-01T00:00:00+14:00", "2012-01-01T01:00:00+14:00"}},
		{"half an hour that is repeated", "*/20 * * * *", "Australia/Lord_Howe", "2026-04-05T01:20:00+11:00",
			[]string{"2026-04-05T01:40:00+11:00", "2026-04-05T01:40:00+10:30", "2026-04-05T02:00:00+10:30"}},
		{"half an hour that is missing", "0 * * * *", "Australia/Lord_Howe", "2026-10-04T00:30:00+10:30",
			[]string{"2026-10-04T01:00:00+10:30", "2026-10-04T03:00:00+11:00"}},
		{"the last day of a leap year past the table of a zone", "0 * * * *", paris, "2040-12-31T22:30:00+01:00",
			[]string{"2040-12-31T23:00:00+01:00", "2041-01-01T00:00:00+01:00", "2041-01-01T01:00:00+01:00"}},
		{"UTC never jumps", "30 2 * * *", "", "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T02:30:00Z", "2026-03-30T02:30:00Z"}},
	} {
		got := schedule(t, c.spec, c.zone).NextN(at(t, c.from), len(c.want))
		for i, want := range c.want {
			require.Equal(t, want, got[i].Format(time.RFC3339), "%s: %v", c.what, got)
		}
	}
}

// ticks are what Parse's doc says of a schedule around a jump, found minute by
// minute. A schedule that names hours fires at a minute if one of the minutes the
// wall has come to show since, gaps included, is named.
func ticks(from, to time.Time, namesHours bool, due func(wall time.Time) bool) []time.Time {
	var all []time.Time
	wallOf := func(t time.Time) time.Time {
		_, offset := t.Zone()
		return t.UTC().Add(time.Duration(offset) * time.Second)
	}
	for t, shown := from, wallOf(from); t.Before(to); {
		t = t.Add(time.Minute)
		wall := wallOf(t)
		fires := !namesHours && due(wall)
		for ; shown.Before(wall); shown = shown.Add(time.Minute) {
			fires = fires || namesHours && due(shown.Add(time.Minute))
		}
		if fires {
			all = append(all, t)
		}
	}
	return all
}

func TestEveryTickAroundEveryJump(t *testing.T) {
	type wall = time.Time
	specs := []struct {
		spec       string
		namesHours bool
		due        func(w wall) bool
	}{
		{"*/20 * * * *", false, func(w wall) bool { return w.Minute()%20 == 0 }},
		{"0 * * * FRI", false, func(w wall) bool { return w.Minute() == 0 && w.Weekday() == time.Friday }},
		{"*/30 * * * 0", false, func(w wall) bool { return w.Minute()%30 == 0 && w.Weekday() == time.Sunday }},
		{"5 * 1-7 * *", false, func(w wall) bool { return w.Minute() == 5 && w.Day() < 8 }},
		{"* * 24 4 *", false, func(w wall) bool { return w.Day() == 24 && w.Month() == time.April }},
		{"0 0 * * *", true, func(w wall) bool { return w.Minute() == 0 && w.Hour() == 0 }},
		{"*/15 0-3 * * *", true, func(w wall) bool { return w.Minute()%15 == 0 && w.Hour() < 4 }},
		{"15 */2 * * 0", true, func(w wall) bool { return w.Minute() == 15 && w.Hour()%2 == 0 && w.Weekday() == time.Sunday }},
		{"59 23 * * 6", true, func(w wall) bool { return w.Minute() == 59 && w.Hour() == 23 && w.Weekday() == time.Saturday }},
		{"30 2 30 12 *", true, func(w wall) bool {
			return w.Minute() == 30 && w.Hour() == 2 && w.Day() == 30 && w.Month() == time.December
		}},
	}
	for _, zone := range []string{"Africa/Cairo", "Africa/Casablanca", "America/Havana", "America/Santiago", "Antarctica/Troll",
		"Asia/Beirut", "Australia/Lord_Howe", "Europe/Dublin", "Europe/Paris", "Pacific/Apia"} {
		for _, c := range specs {
			s := schedule(t, c.spec, zone)
			for _, from := range beforeJumps(t, zone, 2011, 2026) {
				to := from.Add(80 * time.Hour)
				want := ticks(from, to, c.namesHours, c.due)
				for asked := from; asked.Before(to); asked = asked.Add(17 * time.Minute) {
					for len(want) > 0 && !want[0].After(asked) {
						want = want[1:]
					}
					got := s.Next(asked)
					if len(want) > 0 && !got.Equal(want[0]) || len(want) == 0 && !got.After(to) {
						t.Fatalf("%s: after %s comes %s, want %v", s, asked, got, want[:min(1, len(want))])
					}
				}
			}
		}
	}
}

// beforeJumps returns times 40 hours before each jump of a zone's clock.
func beforeJumps(t *testing.T, zone string, years ...int) []time.Time {
	t.Helper()
	location, err := time.LoadLocation(zone)
	require.NoError(t, err)
	var all []time.Time
	for _, year := range years {
		for hour := time.Date(year, 1, 1, 0, 0, 0, 0, location); hour.Year() == year; hour = hour.Add(time.Hour) {
			_, before := hour.Add(-time.Hour).Zone()
			if _, offset := hour.Zone(); offset != before {
				all = append(all, hour.Add(-40*time.Hour))
			}
		}
	}
	return all
}

func BenchmarkNext(b *testing.B) {
	for _, c := range []struct{ spec, from string }{
		{"*/5 * * * *", "2026-06-01T00:00:00Z"},
		{"0 9 * * MON", "2026-06-01T00:00:00Z"},
		{"0 * 29 2 *", "2024-03-01T00:00:00Z"},
		{"0 9 29 2 *", "2024-03-01T00:00:00Z"},
		{"* * 2 * * *", "2026-10-25T01:00:00Z"}, // 02:00 again
	} {
		s, err := cron.Parse(c.spec, "Europe/Paris")
		require.NoError(b, err)
		from, err := time.Parse(time.RFC3339, c.from)
		require.NoError(b, err)
		b.Run(c.spec, func(b *testing.B) {
			for b.Loop() {
				s.Next(from)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, spec := range []string{"* * * * *", "0 0 29 2 *", "@every 1s", "30 2 * * *", "61 * * * *", "TZ=UTC @daily", "1-5/2,7 * ? JAN-mar MON"} {
		f.Add(spec, "Europe/Paris", int64(1_774_742_400))
	}
	f.Fuzz(func(t *testing.T, spec, zone string, unix int64) {
		s, err := cron.Parse(spec, zone)
		if err != nil {
			return
		}
		from := time.Unix(unix%10_000_000_000, 0)
		for _, next := range s.NextN(from, 20) {
			if !next.After(from) {
				t.Fatalf("%q: %s is not after %s", spec, next, from)
			}
			from = next
		}
		again, err := cron.Parse(s.Spec(), s.Zone())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q: %v %v", spec, again, err)
		}
	})
}
