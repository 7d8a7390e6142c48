package main

import (
	"errors"
	"fmt"
	"net/rpc"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

// handshake's cookie is the environment variable that makes this program a worker of goPlugin.
var handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "PARALLEL_BENCH_PLUGIN", MagicCookieValue: "worker"}

// tasksPlugin is service as go-plugin wants it. It hands out the client itself.
type tasksPlugin struct{}

func (tasksPlugin) Server(*plugin.MuxBroker) (any, error) { return &service{}, nil }

func (tasksPlugin) Client(_ *plugin.MuxBroker, c *rpc.Client) (any, error) { return c, nil }

var plugins = plugin.PluginSet{"tasks": tasksPlugin{}}

// goPlugin is hashicorp/go-plugin over net/rpc, its plugins being copies of this program, started side by side.
func goPlugin() (*pool, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	hosts := make([]*plugin.Client, workers)
	clients := make([]*rpc.Client, workers)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range hosts {
		c := exec.Command(self)
		c.Env = []string{share()} // go-plugin adds this program's
		hosts[w] = plugin.NewClient(&plugin.ClientConfig{
			HandshakeConfig: handshake, Plugins: plugins, Cmd: c, StartTimeout: patience, Logger: hclog.NewNullLogger(),
		})
		wg.Go(func() { clients[w], errs[w] = dispense(hosts[w]) })
	}
	wg.Wait()
	end := func() error { return kill(hosts) }
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, end())
	}
	return rpcPool(clients, "Plugin", end), nil
}

func dispense(host *plugin.Client) (*rpc.Client, error) {
	protocol, err := host.Client()
	if err != nil {
		return nil, err
	}
	raw, err := protocol.Dispense("tasks")
	if err != nil {
		return nil, err
	}
	client, ok := raw.(*rpc.Client)
	if !ok {
		return nil, fmt.Errorf("go-plugin dispensed a %T", raw)
	}
	return client, nil
}

// kill ends the plugins, politely if they let it, and makes sure that they are gone.
func kill(hosts []*plugin.Client) error {
	var wg sync.WaitGroup
	for _, h := range hosts {
		wg.Go(h.Kill)
	}
	wg.Wait()
	for _, h := range hosts {
		if !h.Exited() {
			return errors.New("a plugin outlived its Kill")
		}
	}
	return nil
}

// goPluginWorker serves calls. Where the parent dies without a word go-plugin would stay; it does not here.
func goPluginWorker() {
	parent := os.Getppid()
	go func() {
		for os.Getppid() == parent {
			time.Sleep(time.Second)
		}
		os.Exit(1)
	}()
	plugin.Serve(&plugin.ServeConfig{HandshakeConfig: handshake, Plugins: plugins, Logger: hclog.NewNullLogger()})
}
