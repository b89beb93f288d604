// SPDX-FileCopyrightText: The jetjobs authors
// SPDX-License-Identifier: Apache-2.0

// Package jetjobs is a job framework for Go that needs nothing but NATS. The
// work is in its packages:
//
//   - jobs: what a job is, and a runner that runs it again and again;
//   - queue: durable typed queues on JetStream, with retries, delays, unique
//     IDs, results and dead letters;
//   - queue/queuetest: a real server, assertions and fake time for your tests;
//   - workitem: many kinds of work through one queue, with live progress;
//   - lock: leases with fencing tokens, election, throttle;
//   - bus: typed publish and subscribe, request and reply, delayed publish;
//   - hosting: a program of startup actions, services and jobs that starts, tells
//     whether it is well, and stops;
//   - hosting/cron: schedules in one process, or once in a whole fleet;
//   - hosting/natsd: a nats-server inside the process, for development, tests
//     and small deployments.
//
// The README shows how they go together.
package jetjobs
