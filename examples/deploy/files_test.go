// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/jetjobs/jetjobs/hosting"
)

// An object is a part of a YAML file.
type object map[string]any

// at goes down the path; a number is an index.
func (o object) at(t *testing.T, path ...any) any {
	t.Helper()
	var at any = map[string]any(o)
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, ok := at.(map[string]any)
			require.True(t, ok, "no %v in %v", path, at)
			at = m[step]
		case int:
			list, ok := at.([]any)
			require.True(t, ok && step < len(list), "no %v in %v", path, at)
			at = list[step]
		}
	}
	return at
}

func readYAML(t *testing.T, file string) (all []object) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var m map[string]any
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return all
		} else {
			require.NoError(t, err, file)
		}
		all = append(all, m)
	}
}

// environment is the env of a container in Kubernetes, as far as it has values.
func environment(t *testing.T, container object) map[string]string {
	t.Helper()
	env := map[string]string{}
	for i := range container.at(t, "env").([]any) {
		name := container.at(t, "env", i, "name").(string)
		env[name], _ = container.at(t, "env", i, "value").(string)
	}
	return env
}

var pod = []any{"spec", "template", "spec"}

func TestKubernetesWaitsLongerThanTheHost(t *testing.T) {
	worker := readYAML(t, "kubernetes/worker.yaml")[0]
	spec := object(worker.at(t, pod...).(map[string]any))
	container := object(spec.at(t, "containers", 0).(map[string]any))
	env := environment(t, container)
	grace, err := time.ParseDuration(env["GRACE"])
	require.NoError(t, err)
	kill := time.Duration(spec.at(t, "terminationGracePeriodSeconds").(int)) * time.Second
	require.Greater(t, kill, grace+hosting.StopMargin, "the kubelet would kill before Run gives up")
	requireWorkerKnows(t, env)
}

func TestProbesAskWhatTheHandlerServes(t *testing.T) {
	worker := readYAML(t, "kubernetes/worker.yaml")[0]
	spec := object(worker.at(t, pod...).(map[string]any))
	container := object(spec.at(t, "containers", 0).(map[string]any))
	want := map[string]string{"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
	for probe, path := range want {
		require.Equal(t, path, container.at(t, probe, "httpGet", "path"))
		require.Equal(t, container.at(t, "ports", 0, "name"), container.at(t, probe, "httpGet", "port"))
		require.Greater(t, container.at(t, probe, "timeoutSeconds"), 2, "checks have 2 s")
		answer := httptest.NewRecorder()
		hosting.New(hosting.Options{}).Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
		require.NotEqual(t, http.StatusNotFound, answer.Code)
	}
	_, port, _ := strings.Cut(environment(t, container)["LISTEN"], ":")
	require.EqualValues(t, "8080", port)
	require.Equal(t, 8080, container.at(t, "ports", 0, "containerPort"))
}

func TestPodsHaveNoPowers(t *testing.T) {
	for _, file := range []string{"kubernetes/worker.yaml", "kubernetes/setup.yaml"} {
		spec := object(readYAML(t, file)[0].at(t, pod...).(map[string]any))
		require.Equal(t, true, spec.at(t, "securityContext", "runAsNonRoot"), file)
		require.Equal(t, 65532, spec.at(t, "securityContext", "runAsUser"), file)
		require.Equal(t, false, spec.at(t, "automountServiceAccountToken"), file)
		require.Equal(t, false, spec.at(t, "containers", 0, "securityContext", "allowPrivilegeEscalation"), file)
		require.Equal(t, true, spec.at(t, "containers", 0, "securityContext", "readOnlyRootFilesystem"), file)
		require.Equal(t, []any{"ALL"}, spec.at(t, "containers", 0, "securityContext", "capabilities", "drop"), file)
		require.NotEmpty(t, spec.at(t, "containers", 0, "resources", "limits", "memory"), file)
		requireWorkerKnows(t, environment(t, object(spec.at(t, "containers", 0).(map[string]any))))
	}
	containerfile, err := os.ReadFile("Containerfile")
	require.NoError(t, err)
	for _, line := range []string{"USER 65532:65532", "CGO_ENABLED=0", "./examples/worker", `ENTRYPOINT ["/worker"]`} {
		require.Contains(t, string(containerfile), line)
	}
}

func TestDisruptionBudgetIsForTheWorkersAndLeavesRoom(t *testing.T) {
	all := readYAML(t, "kubernetes/worker.yaml")
	require.Len(t, all, 2)
	worker, budget := all[0], all[1]
	require.Equal(t, worker.at(t, "spec", "template", "metadata", "labels"), budget.at(t, "spec", "selector", "matchLabels"))
	require.Equal(t, worker.at(t, "spec", "selector"), budget.at(t, "spec", "selector"))
	require.Less(t, budget.at(t, "spec", "minAvailable"), worker.at(t, "spec", "replicas"), "else no node could be drained")
}

func TestComposeHasAClusterAndTwoWorkers(t *testing.T) {
	compose := readYAML(t, "compose.yaml")[0]
	for _, name := range []string{"nats-1", "nats-2", "nats-3"} {
		require.Equal(t, name, compose.at(t, "services", name, "environment", "SERVER_NAME"))
		require.Contains(t, compose.at(t, "services", name, "image"), "nats:")
		require.Nil(t, compose.at(t, "services", name, "ports"), "not for the public")
		require.Equal(t, []any{"./nats:/etc/nats:ro", name + ":/data"}, compose.at(t, "services", name, "volumes"))
	}
	for _, name := range []string{"worker-1", "worker-2", "setup"} {
		env := map[string]string{}
		for key, value := range compose.at(t, "services", name, "environment").(map[string]any) {
			env[key] = value.(string)
		}
		requireWorkerKnows(t, env)
		require.Equal(t, 3, strings.Count(env["NATS_URL"], "nats://nats-"))
		require.Equal(t, "65532:65532", compose.at(t, "services", name, "user"))
		if name == "setup" {
			require.Equal(t, "3", env["REPLICAS"])
			continue
		}
		grace, err := time.ParseDuration(env["GRACE"])
		require.NoError(t, err)
		kill, err := time.ParseDuration(compose.at(t, "services", name, "stop_grace_period").(string))
		require.NoError(t, err)
		require.Greater(t, kill, grace+hosting.StopMargin)
	}
}

// requireWorkerKnows fails if there is a variable that examples/worker does not read.
func requireWorkerKnows(t *testing.T, env map[string]string) {
	t.Helper()
	source, err := os.ReadFile("../worker/config.go")
	require.NoError(t, err)
	for name := range env {
		require.Regexp(t, regexp.QuoteMeta(`"`+name+`"`), string(source))
	}
}
