// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"encoding/json"
	"fmt"
	"time"
)

// A Fence tells holders of a name apart: it is larger than that of every earlier
// one. Give it to whatever the holder writes to, and let that refuse a smaller
// one than it has seen.
type Fence uint64

// A Holder is who holds a lock. The zero Fence means that nobody does.
type Holder struct {
	Name  string        // of the lock, as it was asked for
	Owner string        // Options.Owner of the holder
	Since time.Time     // by the holder's clock
	TTL   time.Duration // how long the lock outlives the last renewal
	Fence Fence
}

// Held reports whether there is a holder.
func (h Holder) Held() bool { return h.Fence != 0 }

// version is that of the records, and of the bucket.
const version = 1

// A record is the value of a held lock.
type record struct {
	Version int       `json:"v"` // missing: 1
	Owner   string    `json:"owner"`
	Nonce   string    `json:"nonce"` // of the acquisition, whoever else has the same owner
	Since   time.Time `json:"since"`
	TTL     int       `json:"ttl"`             // in seconds
	Fence   Fence     `json:"fence,omitempty"` // missing in the acquisition itself, whose revision it is
}

func (r record) encode() []byte {
	data, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("lock: encode %+v: %v", r, err)) // strings and numbers only
	}
	return data
}

// parseRecord reads a record of this or a later version. A value that is none,
// because somebody has put it there by hand, holds the lock all the same.
func parseRecord(data []byte) *record {
	r := &record{}
	if err := json.Unmarshal(data, r); err != nil {
		return &record{Owner: "unknown"}
	}
	return r
}

// holder is who holds a name by this entry.
func (e entry) holder(r ref) Holder {
	if e.held == nil {
		return Holder{Name: r.name}
	}
	h := Holder{Name: r.name, Owner: e.held.Owner, Since: e.held.Since, TTL: time.Duration(e.held.TTL) * time.Second, Fence: e.held.Fence}
	if h.Fence == 0 {
		h.Fence = Fence(e.rev)
	}
	return h
}

// An entry is what stands at a key.
type entry struct {
	rev     uint64 // 0: nothing
	created time.Time
	data    []byte // nil: a tombstone or a marker, which is as good as nothing
	held    *record
}
