// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/jetjobs/jetjobs/internal/natstest"
)

// lagging is JetStream as it is when direct gets are answered by a replica that
// has the first messages only.
func lagging(t *testing.T, e *natstest.Env, has uint64) jetstream.JetStream {
	t.Helper()
	const api = "$LAG.API."
	nc := e.JetStream().Conn()
	sub, err := nc.Subscribe(api+">", func(m *nats.Msg) {
		verb, data := strings.TrimPrefix(m.Subject, api), m.Data
		if strings.HasPrefix(verb, "DIRECT.GET.") {
			var ask map[string]any
			require.NoError(t, json.Unmarshal(data, &ask))
			from := uint64(ask["seq"].(float64))
			if from > has {
				require.NoError(t, m.RespondMsg(&nats.Msg{Header: nats.Header{"Status": {"404"}, "Description": {"Message Not Found"}}}))
				return
			}
			ask["batch"] = has - from + 1
			data, _ = json.Marshal(ask)
		}
		require.NoError(t, nc.PublishRequest("$JS.API."+verb, m.Reply, data))
	})
	require.NoError(t, err)
	t.Cleanup(func() { sub.Unsubscribe() })
	js, err := jetstream.NewWithAPIPrefix(e.NewJetStream().Conn(), strings.TrimSuffix(api, "."))
	require.NoError(t, err)
	return js
}

func TestListMissesNothingThoughAReplicaLags(t *testing.T) {
	for _, has := range []uint64{0, 4, 300, 600} {
		t.Run(fmt.Sprint("it has ", has, " of 600"), func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, e *natstest.Env, q *Queue[string]) {
				var items []Item[string]
				for n := range 600 {
					items = append(items, Item[string]{Value: fmt.Sprint(n)})
				}
				_, err := q.EnqueueMany(t.Context(), items)
				require.NoError(t, err)
				behind := openOn(t, lagging(t, e, has), Options{})
				for _, newest := range []bool{false, true} {
					all := list(t, behind, Filter{Newest: newest})
					require.Len(t, all, 600)
					for i, info := range all {
						want := i
						if newest {
							want = 599 - i
						}
						require.Equal(t, fmt.Sprint(want), info.Value)
					}
				}
			})
		})
	}
}

func list(t *testing.T, q *Queue[string], f Filter) (all []Info[string]) {
	t.Helper()
	for i, err := range q.List(t.Context(), f) {
		require.NoError(t, err)
		all = append(all, i)
	}
	return all
}
