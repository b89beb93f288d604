// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package cron

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A field is a word of an expression; its position is counted from 1.
type field struct {
	text     string
	position int
}

// fieldsOf returns the words of spec, with their positions in what the user wrote.
func fieldsOf(spec string) []field {
	var fields []field
	end := 0
	for _, text := range strings.Fields(spec) {
		end += strings.Index(spec[end:], text)
		fields = append(fields, field{text, end + 1})
		end += len(text)
	}
	return fields
}

// wrong says what is wrong with f, the part of spec that is called name.
func (f field) wrong(spec, name string, why error) error {
	return fmt.Errorf("schedule %q: %s %q (position %d): %w", spec, name, f.text, f.position, why)
}

var (
	fieldNames = []string{"second", "minute", "hour", "day of month", "month", "day of week"}

	errEmptyItem = errors.New("the list has an empty item: want one comma between two values, such as 1,2")
)

// emptyItem reports a list such as "1,,2", of which the library skips what is
// empty.
func emptyItem(text string) bool { return slices.Contains(strings.Split(text, ","), "") }

// explain finds the field that is wrong, by trying each one with all others *.
func explain(spec string, err error) error {
	fields := fieldsOf(spec)
	if len(fields) == 0 || strings.HasPrefix(fields[0].text, "@") {
		return fmt.Errorf("schedule %q: want five fields (minute, hour, day of month, month, day of week), six with seconds first, "+
			"or @hourly, @daily, @weekly, @monthly, @yearly, @every 90s", spec)
	}
	if len(fields) != 5 && len(fields) != 6 {
		return fmt.Errorf("schedule %q has %d fields: want five (minute, hour, day of month, month, day of week), or six with seconds first",
			spec, len(fields))
	}
	var errs []error
	for i, f := range fields {
		alone := []string{"*", "*", "*", "*", "*", "*"}[:len(fields)]
		alone[i] = f.text
		_, why := parser.Parse(strings.Join(alone, " "))
		if emptyItem(f.text) {
			why = errEmptyItem
		}
		if why != nil {
			errs = append(errs, f.wrong(spec, fieldNames[i+6-len(fields)], why))
		}
	}
	if len(errs) == 0 {
		return fmt.Errorf("schedule %q: %w", spec, err)
	}
	return errors.Join(errs...)
}

// explainNever is for an expression that fits no date. It can only be the day of
// the month that no month has, as each day of the week comes in each month.
func explainNever(spec string) error {
	fields := fieldsOf(spec)
	day, month := fields[len(fields)-3], fields[len(fields)-2]
	return fmt.Errorf("schedule %q never fires: day of month %q (position %d): want a day that month %q has",
		spec, day.text, day.position, month.text)
}
