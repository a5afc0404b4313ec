/** The door to `midflight/protocol`: what control planes, agents and consoles say to each other. Browser-safe. */
export { canonicalText } from '../canonical.ts'
export {
  busFormat,
  releaseTopic,
  reportFormat,
  reportTopic,
  seal,
  toProve,
  unseal,
  type Format,
  type Sealed,
} from './bus.ts'
export {
  BadMessageError,
  closeCodes,
  decodeFromAgent,
  decodeFromBus,
  decodeFromServer,
  encode,
  maxMessageBytes,
  maxReleaseBytes,
  type BadMessageCode,
} from './codec.ts'
export {
  agentMessage,
  serverMessage,
  subprotocol,
  busMessage,
  type AgentMessage,
  type BusMessage,
  type ErrorMessage,
  type Heartbeat,
  type Hello,
  type Message,
  type Pace,
  type ReleaseBody,
  type ReleaseMessage,
  type Report,
  type Runs,
  type ServerMessage,
  type Welcome,
  type Whole,
} from './messages.ts'
export { configNamePattern, configNameProblem, isBelow, isConfigName, maxConfigNameLength } from './names.ts'
export {
  configText,
  digestText,
  releaseInfo,
  releaseNumber,
  signedText,
  timeText,
  type ReleaseInfo,
  type ReleaseSignature,
} from './release.ts'
export { mismatchText, type Mismatch, type Of, type Shape } from './shape.ts'
export { cut, detailOf, maxDetailLength, nodeStatus, statusOf, type FinalStatus, type NodeStatus } from './status.ts'
