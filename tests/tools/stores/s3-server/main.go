// Command s3-server offers a folder as S3 with versitygw's packages, as `versitygw posix FOLDER` does.
//
//	s3-server ADDRESS FOLDER
//
// Each folder in FOLDER is a bucket. The keys are ROOT_ACCESS_KEY and ROOT_SECRET_KEY of the environment.
//
// versitygw's own program has further storage and its own tests in it, which take half of its build.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "s3-server:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 2 {
		return errors.New("usage: s3-server ADDRESS FOLDER")
	}
	address, folder := arguments[0], arguments[1]
	if err := (meta.XattrMeta{}).Test(folder); err != nil {
		return fmt.Errorf("%s cannot store extended attributes: %w", folder, err)
	}
	// The values are the defaults of versitygw's program.
	options := posix.PosixOpts{Concurrency: 5000, IOBufferSize: 1 << 20, CopyObjectThreshold: 5 << 30}
	options.SetNewDirPerm(0o755)
	options.SetNewFilePerm(0o644)
	backend, err := posix.New(folder, meta.XattrMeta{}, options)
	if err != nil {
		return err
	}
	context, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return embedgw.RunVersityGW(context, backend, &embedgw.Config{
		RootUserAccess:    os.Getenv("ROOT_ACCESS_KEY"),
		RootUserSecret:    os.Getenv("ROOT_SECRET_KEY"),
		Ports:             []string{address},
		MaxConnections:    250000,
		MaxRequests:       100000,
		MultipartMaxParts: 10000,
		// Otherwise each request needs a new connection.
		KeepAlive: true,
		Quiet:     true,
	})
}
