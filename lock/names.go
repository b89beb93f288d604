// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package lock

import (
	"errors"
	"fmt"
	"strings"
)

// What a key in the bucket is about is its first token.
const (
	lockKind     = "lock"
	throttleKind = "throttle"
)

const (
	maxNamespaceLength = 32
	// maxKeyLength leaves room for the rest of a protocol line, which is limited
	// to 4,096 bytes by default.
	maxKeyLength = 1024
)

// bucketOf is the KV bucket of a namespace: jobs_locks.
func bucketOf(namespace string) string { return namespace + "_locks" }

// streamOf is the stream of a bucket, as nats.go names it.
func streamOf(bucket string) string { return "KV_" + bucket }

// subjectOf is the subject of a key of a bucket.
func subjectOf(bucket, key string) string { return "$KV." + bucket + "." + key }

// keyOf is the key of a name in a scope: lock.<scope>.<name>. A scope is empty
// or ends with a dot, and its dots never come from a name.
func keyOf(kind, scope, name string) string { return kind + "." + scope + encode(name) }

// scopeOf is the scope called name within a scope.
func scopeOf(scope, name string) string { return scope + encode(name) + "." }

// checkName refuses what can't be a key.
func checkName(scope, name string) error {
	if name == "" {
		return errors.New("the name is empty: want one such as \"invoices\"")
	}
	if n := len(keyOf(throttleKind, scope, name)); n > maxKeyLength {
		return fmt.Errorf("the name makes a key of %d bytes: want at most %d; use a hash of it", n, maxKeyLength)
	}
	return nil
}

func checkNamespace(namespace string) error {
	switch {
	case len(namespace) > maxNamespaceLength:
		return fmt.Errorf("Options.Namespace is %d bytes long: want at most %d", len(namespace), maxNamespaceLength)
	case strings.ContainsFunc(namespace, func(r rune) bool { return r > 'z' || !plain(byte(r)) || r == '/' }):
		return fmt.Errorf("Options.Namespace is %q: want only letters, digits, - and _", namespace)
	}
	return nil
}

// plain tells which bytes stand for themselves in a key. nats.go allows "." and
// "=" as well, which separate tokens and escape here.
func plain(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_' || b == '/'
}

const hexDigits = "0123456789ABCDEF"

// encode makes one token of a key of any string, and different ones of
// different strings.
func encode(name string) string {
	b := make([]byte, 0, len(name)+8)
	for i := range len(name) {
		if c := name[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '=', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return string(b)
}
