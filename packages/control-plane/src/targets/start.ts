/** Puts the deployer of a control plane together: which installers there are, and which nodes are known. */
import type { Coordinator } from '../coordinator.ts'
import type { Domain } from '../domain.ts'
import type { PublishResult } from '../publish.ts'
import type { Roster } from '../roster.ts'
import { agentInstaller, hostsOf } from './agent-installer.ts'
import type { DeploymentRecord } from './deployment.ts'
import { Deployer } from './deployer.ts'
import { httpInstaller, type HttpInstallerOptions } from './http-installer.ts'
import type { Pace } from './pace.ts'
import { ownAgents } from './targets.ts'

export interface DeployOptions {
  /** Foreign node-management APIs, by the names that targets have for them. */
  readonly installers?: Readonly<Record<string, HttpInstallerOptions>>
  /** How long is waited for what, in milliseconds; each has a default. */
  readonly pace?: Partial<Pace>
}

interface Around {
  readonly domain: Domain
  readonly roster: Roster
  readonly coordinator: Coordinator
  readonly published: (result: PublishResult) => void
  readonly onMoved: (record: DeploymentRecord) => void
  readonly onProblem: (error: unknown) => void
}

/** @throws TypeError for options that cannot be used. */
export async function startDeployer(around: Around, { installers = {}, pace = {} }: DeployOptions): Promise<Deployer> {
  const { domain, roster, coordinator, published, onMoved, onProblem } = around
  const foreign = Object.entries(installers).map(([name, options]) => [name, httpInstaller(name, options)] as const)
  if (Object.hasOwn(installers, ownAgents))
    throw new TypeError(`an installer is called ${ownAgents}, as Midflight's own are`)
  return await Deployer.start({
    domain,
    epoch: coordinator.epoch,
    nodes: () => hostsOf(roster),
    installers: new Map([[ownAgents, agentInstaller({ domain, roster, published })], ...foreign]),
    onMoved,
    onProblem,
    pace,
  })
}
