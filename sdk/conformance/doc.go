// Package conformance plays the scenarios of the folder scenarios against the SDKs. A scenario is a script in YAML for a
// scripted hub and for an SDK; an adapter, a small program for each SDK, connects the SDK to the test. README.md describes
// scenarios and adapters. The expected behaviour is in docs/sdk.md, and is the same for all languages.
//
// The package has only tests. TestScenarios plays each scenario against each adapter; the adapter of Go is goadapter. An
// adapter whose language is not installed is skipped unless its environment variable demands it; see adapters.
package conformance
