// Command helm-client pushes and pulls charts with helm's registry package, as `helm push` and `helm pull` do.
//
//	helm-client push ARCHIVE REFERENCE [PROVENANCE]
//	helm-client pull REFERENCE FOLDER
//	helm-client versions REPOSITORY
//	helm-client login REGISTRY USER
//
// `pull` writes chart.tgz into FOLDER, and chart.tgz.prov if there is one. `login` reads the password from stdin.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"helm.sh/helm/v3/pkg/registry"
)

func main() {
	client, err := registry.NewClient(registry.ClientOptPlainHTTP(), registry.ClientOptWriter(os.Stdout))
	if err == nil {
		err = run(client, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "helm-client:", err)
		os.Exit(1)
	}
}

func run(client *registry.Client, arguments []string) error {
	switch {
	case len(arguments) >= 3 && len(arguments) <= 4 && arguments[0] == "push":
		return push(client, arguments[1], arguments[2], arguments[3:]...)
	case len(arguments) == 3 && arguments[0] == "pull":
		return pull(client, arguments[1], arguments[2])
	case len(arguments) == 2 && arguments[0] == "versions":
		return versions(client, arguments[1])
	case len(arguments) == 3 && arguments[0] == "login":
		return login(client, arguments[1], arguments[2])
	}
	return fmt.Errorf("unknown arguments %q", arguments)
}

func push(client *registry.Client, archive, reference string, provenance ...string) error {
	chart, err := os.ReadFile(archive)
	if err != nil {
		return err
	}
	var options []registry.PushOption
	for _, file := range provenance {
		signed, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		options = append(options, registry.PushOptProvData(signed))
	}
	_, err = client.Push(chart, reference, options...)
	return err
}

func pull(client *registry.Client, reference, folder string) error {
	pulled, err := client.Pull(reference, registry.PullOptWithProv(true), registry.PullOptIgnoreMissingProv(true))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "chart.tgz"), pulled.Chart.Data, 0o600); err != nil {
		return err
	}
	if pulled.Prov.Data == nil {
		return nil
	}
	return os.WriteFile(filepath.Join(folder, "chart.tgz.prov"), pulled.Prov.Data, 0o600)
}

func versions(client *registry.Client, repository string) error {
	tags, err := client.Tags(repository)
	for _, tag := range tags {
		fmt.Println(tag)
	}
	return err
}

func login(client *registry.Client, host, user string) error {
	password, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	return client.Login(host, registry.LoginOptBasicAuth(user, string(password)), registry.LoginOptPlainText(true))
}
