/** The upstreams under load, in a process of their own. Tells its parent both addresses; ends with it. */
import { demoUpstream } from '../../src/demo-upstream.ts'

const upstreams = [await demoUpstream('first'), await demoUpstream('second')]
process.send?.(upstreams.map(({ url }) => url))
process.on('disconnect', () => process.exit())
