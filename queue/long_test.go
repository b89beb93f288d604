// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue_test

import "flag"

// long makes the chaos tests take minutes in place of seconds:
//
//	go test ./queue -run 'Killed|Cluster' -long
var long = flag.Bool("long", false, "run the chaos tests for minutes")
