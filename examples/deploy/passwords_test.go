// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
)

// requirePassword fails unless the servers, with these variables, have users with this password.
func requirePassword(t *testing.T, env map[string]string, password string) {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
	}
	opts, err := server.ProcessConfigFile("nats/nats.conf")
	require.NoError(t, err)
	require.Len(t, opts.Users, 5)
	for _, u := range opts.Users {
		require.Equal(t, password, u.Password, u.Username)
	}
}

// composed is the environment of a service when all passwords in .env are this one.
func composed(t *testing.T, service, password string) map[string]string {
	t.Helper()
	env := map[string]string{}
	variable := regexp.MustCompile(`\$\{[A-Z]+_PASSWORD:\?[^}]*\}`)
	for name, value := range readYAML(t, "compose.yaml")[0].at(t, "services", service, "environment").(map[string]any) {
		env[name] = variable.ReplaceAllLiteralString(value.(string), password)
	}
	return env
}

func TestComposeTakesOrdinaryPasswords(t *testing.T) {
	for _, password := range []string{
		"change-me-worker", "12345678", "5k", "1e10", "true", "no", "2026-11-25T00:00:00Z", "two words", "a,b;c", "a#b", "#a", "//a", "$a", `a"b`, `a\b`, "{a}",
	} {
		t.Run(password, func(t *testing.T) {
			for _, name := range []string{"nats-1", "nats-2", "nats-3"} {
				requirePassword(t, composed(t, name, password), password)
			}
			for _, name := range []string{"setup", "worker-1", "worker-2"} {
				require.Equal(t, password, composed(t, name, password)["NATS_PASSWORD"])
			}
		})
	}
}

func TestRecommendedPasswordsNeedNoQuotes(t *testing.T) {
	for _, file := range []string{"example.env", "README.md"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(text), `echo "p$(openssl rand -hex 24)"`)
	}
	random := make([]byte, 24)
	_, _ = rand.Read(random) // it never fails
	for _, digits := range []string{hex.EncodeToString(random), strings.Repeat("0", 48), strings.Repeat("1", 47) + "b", strings.Repeat("1", 24) + "e" + strings.Repeat("1", 23)} {
		env := map[string]string{"SERVER_NAME": "nats-1"}
		for _, name := range []string{"PRODUCER", "WORKER", "SCHEDULER", "OBSERVER", "OPERATOR"} {
			env[name+"_PASSWORD"] = "p" + digits
		}
		requirePassword(t, env, "p"+digits)
	}
}
