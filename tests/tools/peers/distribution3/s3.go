//go:build s3

package main

// The driver's SDK takes most of a build, so only the benchmarks build it.
import _ "github.com/distribution/distribution/v3/registry/storage/driver/s3-aws"
